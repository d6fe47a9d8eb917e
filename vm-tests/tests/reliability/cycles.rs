//! Starting and stopping traces for long: nothing may grow.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use serde_json::json;
use vm_tests::harness::{Lab, Length, Load, Netns, Server, storm};

use crate::{Scale, holdings::Holdings, stop};

const AT_ONCE: usize = 8;
/// Failures of each round, which every trace tells.
const FAILURES: u64 = 160;
/// The server gives freed memory back once a minute, and closes what it kept open for more.
const REST: Duration = Duration::from_secs(70);
const KIB_PER_1000: u64 = 1024;

pub(crate) fn nothing_grows(lab: &Lab, scale: Scale) -> Result<()> {
    let server = lab.own_server()?;
    // What others do on this host is not to decide how much there is to tell.
    let netns = Netns::new()?;
    let cycles = |rounds: u64| (0..rounds).try_for_each(|_| cycle(&server, &netns));
    let (warm_up, rounds) = (scale.of(10, 100), scale.of(25, 125));
    // Until then caches fill, and the heap finds its shape.
    cycles(warm_up)?;
    let first = at_rest(&server)?;
    cycles(rounds)?;
    let last = at_rest(&server)?;
    let count = rounds * AT_ONCE as u64;
    println!("{count} cycles: {first:?} → {last:?}");
    ensure!(last.files <= first.files, "descriptors: {first:?} → {last:?}");
    ensure!(last.threads <= first.threads, "threads: {first:?} → {last:?}");
    let grown = last.resident_kib.saturating_sub(first.resident_kib);
    let allowed = count.div_ceil(1000) * KIB_PER_1000;
    ensure!(grown <= allowed, "{grown} KiB more, {allowed} allowed: {first:?} → {last:?}");
    Ok(())
}

/// What the server holds when it has nothing to do.
fn at_rest(server: &Server) -> Result<Holdings> {
    thread::sleep(REST);
    Holdings::of(server.pid())
}

fn cycle(server: &Server, netns: &Netns) -> Result<()> {
    let api = server.api();
    let mut paths = Vec::new();
    for _ in 0..AT_ONCE {
        let reply = api.post("/api/v1/traces", &json!({"filter": {"netns": netns.inode()}}))?;
        reply.expect(201)?;
        paths.push(reply.location);
    }
    storm(netns, "cycle", Load::Refused, Length::Times(FAILURES))?;
    for path in paths {
        stop(api, &path)?.is("/counters/attempts/failed", FAILURES)?;
        let deleted = api.delete(&path)?;
        ensure!(deleted.status == 204, "deleting {path}: {} {}", deleted.status, deleted.body);
    }
    Ok(())
}
