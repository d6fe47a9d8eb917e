//! A server that is killed at any moment: the kernel takes everything back.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{maps::loaded_maps, programs::loaded_programs};
use rustix::process::Signal;
use serde_json::json;
use vm_tests::harness::{Lab, Length, Load, Netns, Server, storm};

use crate::Scale;

/// How long the kernel may take.
const WITHIN: Duration = Duration::from_secs(1);

pub(crate) fn nothing_is_left_in_the_kernel(lab: &Lab, scale: Scale) -> Result<()> {
    let netns = Netns::new()?;
    for time in 0..scale.of(8, 100) {
        let before = loaded();
        let mut server = lab.own_server()?;
        // Deterministic, and spread over loading, storming and stopping.
        let moment = Duration::from_millis(time * 37 % 160);
        thread::scope(|scope| {
            let busy = scope.spawn(|| keep_busy(&server, &netns));
            thread::sleep(moment);
            server.signal(Signal::KILL)?;
            // The server's end may cut a request off.
            drop(busy.join().ok().context("the load panicked")?);
            anyhow::Ok(())
        })?;
        server.wait(Duration::from_secs(5))?;
        let killed = Instant::now();
        while loaded().difference(&before).next().is_some() {
            let left: Vec<_> = loaded().difference(&before).copied().collect();
            ensure!(killed.elapsed() < WITHIN, "killed after {moment:?}, it left {left:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

/// Starts a trace, storms, and stops it.
fn keep_busy(server: &Server, netns: &Netns) -> Result<()> {
    let reply = server.api().post("/api/v1/traces", &json!({"filter": {"netns": netns.inode()}}))?;
    storm(netns, "storm", Load::Refused, Length::Times(1_600))?;
    server.api().send("POST", &format!("{}/stop", reply.location), &[], None)?;
    Ok(())
}

/// Programs and maps that the kernel holds. Numbers only rise: what comes later than a server is its own.
fn loaded() -> BTreeSet<(&'static str, u32)> {
    let programs = loaded_programs().filter_map(Result::ok).map(|program| ("program", program.id()));
    let maps = loaded_maps().filter_map(Result::ok).map(|map| ("map", map.id()));
    programs.chain(maps).collect()
}
