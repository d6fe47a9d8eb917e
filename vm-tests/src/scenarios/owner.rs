//! Whose attempt it was, when the kernel works on it under somebody else's name.

use std::env;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::expect::{only_with_stacks, owned, refuse};
use crate::harness::{Actor, Connect, Json, Lab, Netns};

super::scenarios!["owner":
    retransmit_while_other_processes_burn_every_core,
    process_that_is_gone_when_the_end_is_told,
    quick_process_gone_before_its_stack_is_symbolised,
    process_killed_before_its_first_retransmit,
];

/// The softirq that sends a SYN again runs on top of whatever task the core was busy with.
fn retransmit_while_other_processes_burn_every_core(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_stacks(&netns))?;
    let cores = thread::available_parallelism()?.get();
    let spinners = (0..=cores).map(|_| Actor::spin(&netns)).collect::<Result<Vec<_>>>()?;
    let connect = Connect::to_address("203.0.113.7:22")?;
    // Until the first retransmit, after a second.
    let patience = Duration::from_millis(1300);
    let tried = netns.run("owner-busy", || connect.giving_up_after(patience).run())?;
    drop(spinners);
    let (retransmits, end) = trace.expect_end("connect.failed")?;
    ensure!(!retransmits.is_empty(), "no retransmit was told");
    retransmits.iter().chain([&end]).try_for_each(|event| owned(event, &tried, "owner-busy", &netns))
}

fn process_that_is_gone_when_the_end_is_told(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_stacks(&netns))?;
    let patience = Duration::from_secs(5);
    let mut actor = Actor::connect(&netns, "owner-gone", "127.0.0.1:81", patience)?;
    actor.wait()?;
    let end = trace.expect("connect.failed")?;
    end.is("/process/pid", actor.pid())?
        .is("/process/tid", actor.pid())?
        .is("/process/comm", "owner-gone")?;
    Ok(())
}

/// Requires the innermost frame to lie in this program, which every actor runs.
fn code_is_known(event: &Json) -> Result<()> {
    let program = env::current_exe()?;
    let program = program.to_str().context("a path that is not UTF-8")?;
    event.is("/process/executable/path", program)?.is("/stack/user/0/module", program)?;
    ensure!(event.count("/stack/user/0/module_offset")? > 0, "{}", event.0);
    Ok(())
}

/// It is gone within microseconds; the reader of the ring buffer may be waiting for milliseconds still.
fn quick_process_gone_before_its_stack_is_symbolised(lab: &Lab) -> Result<()> {
    const BURSTS: usize = 5;
    const BURST: usize = 10;
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_stacks(&netns))?;
    refuse(&netns, "stays", "127.0.0.1:81")?;
    let stays = trace.expect("connect.failed")?;
    code_is_known(&stays)?;
    // In bursts: a reader that is silent for half a minute, as it takes on a slow machine, is taken for gone.
    for _ in 0..BURSTS {
        let flee = |_| Actor::flee(&netns, "flees", "127.0.0.1:81");
        for pid in (0..BURST).map(flee).collect::<Result<Vec<_>>>()? {
            let gone = trace.expect("connect.failed")?;
            gone.is("/process/pid", pid)?.is("/process/comm", "flees")?;
            code_is_known(&gone)?;
            // The same line of the same program: named alike, as far as the program has names.
            for known in ["function", "offset", "module_offset", "file", "line"] {
                let frame = format!("/stack/user/0/{known}");
                gone.is(&frame, stays.at(&frame).clone())?;
            }
        }
    }
    let told = BURSTS * BURST + 1;
    let state = trace.stop()?;
    state.is("/counters/produced", told)?.is("/counters/delivered", told)?;
    state.is("/counters/attempts/code_unsent", 0)?;
    Ok(())
}

fn process_killed_before_its_first_retransmit(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_stacks(&netns))?;
    for started in 1..=TRIES {
        let actor = Actor::connect(&netns, "killed-early", "203.0.113.7:22", Duration::from_secs(30))?;
        // Counted, not told: nobody has looked at the process.
        trace.counted("started", started)?;
        drop(actor);
        let (retransmits, end) = trace.expect_end("connect.failed")?;
        if retransmits.is_empty() {
            end.is("/tcp/connect/cause", "killed")?.is("/process/comm", "killed-early")?;
            return code_is_known(&end);
        }
    }
    bail!("the first retransmit was faster, {TRIES} times")
}

/// On a busy machine the first retransmit may come before the kill.
const TRIES: u64 = 5;
