//! The attempt map holds what is under way, and nothing else.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use serde_json::json;
use vm_tests::harness::{Actor, Lab, Length, Load, Netns, Trace, storm};

use crate::Scale;

/// Entries of the attempt map.
const CAPACITY: u64 = 16_384;
/// Attempts that one process has under way.
const AT_ONCE: u64 = 512;
const SILENT: &str = "203.0.113.9:443";

pub(crate) fn no_entry_is_left_behind(lab: &Lab, scale: Scale) -> Result<()> {
    let server = lab.own_server()?;
    let netns = Netns::new()?;
    // Never answered: the kernel gives up after 1 s and 2 s.
    netns.sysctl("ipv4/tcp_syn_retries", "1")?;
    let mut trace = Trace::start(&server, &json!({"filter": {"netns": netns.inode()}, "stacks": false}))?;
    let times = CAPACITY * scale.of(1, 10);
    storm(&netns, "refused", Load::Refused, Length::Times(times))?;
    storm(&netns, "abandoned", Load::Abandoned, Length::Times(times))?;
    let groups = scale.of(2, times / AT_ONCE / 2);
    for _ in 0..groups {
        let killed = Actor::crowd(&netns, SILENT, AT_ONCE)?;
        let unanswered = Actor::crowd(&netns, SILENT, AT_ONCE)?;
        let under_way = |count: u64| -> Result<bool> { Ok(pending(&trace)? == count) };
        wait_until(|| under_way(2 * AT_ONCE))?;
        drop(killed);
        wait_until(|| under_way(AT_ONCE))?;
        // Its sockets are still open when the kernel has given up.
        wait_until(|| under_way(0))?;
        drop(unanswered);
    }
    ensure!(pending(&trace)? == 0, "entries are left: {}", trace.state()?.0);
    storm(&netns, "after", Load::Refused, Length::Times(16))?;
    let state = trace.counted("failed", 2 * times + groups * 2 * AT_ONCE + 16)?;
    for none in ["untracked", "replaced", "evicted", "missed"] {
        state.is(&format!("/counters/attempts/{none}"), 0)?;
    }
    // New events still come.
    trace.next_event().map(drop)
}

/// More are under way than the map has room for.
pub(crate) fn what_finds_no_room_is_counted(lab: &Lab, _: Scale) -> Result<()> {
    let server = lab.own_server()?;
    let netns = Netns::new()?;
    let trace = Trace::start(&server, &json!({"filter": {"netns": netns.inode()}, "stacks": false}))?;
    let crowd = Actor::crowd(&netns, SILENT, CAPACITY + AT_ONCE)?;
    let started = || trace.state()?.count("/counters/attempts/started");
    wait_until(|| Ok(started()? == CAPACITY + AT_ONCE))?;
    ensure!(pending(&trace)? == CAPACITY, "the map holds {}", pending(&trace)?);
    trace.state()?.is("/counters/attempts/untracked", AT_ONCE)?;
    drop(crowd);
    wait_until(|| Ok(pending(&trace)? == 0))?;
    storm(&netns, "after", Load::Refused, Length::Times(16))?;
    trace.counted("failed", CAPACITY + 16)?.is("/counters/attempts/untracked", AT_ONCE).map(drop)
}

/// Attempts that have started, were followed, and have not ended.
fn pending(trace: &Trace) -> Result<u64> {
    let state = trace.state()?;
    let attempts = |counter: &str| state.count(&format!("/counters/attempts/{counter}"));
    Ok(attempts("started")? - attempts("established")? - attempts("failed")? - attempts("untracked")?)
}

fn wait_until(mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    const STEP: Duration = Duration::from_millis(50);
    const STEPS: u32 = 1_200;
    for _ in 0..STEPS {
        if done()? {
            return Ok(());
        }
        thread::sleep(STEP);
    }
    anyhow::bail!("it has not come to pass within {:?}", STEP * STEPS)
}
