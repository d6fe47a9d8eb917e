//! Starting and stopping traces for long: nothing may grow.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vm_tests::harness::{Lab, Length, Load, Netns, Server, storm};

use crate::{Scale, holdings::Holdings, stop};

const AT_ONCE: usize = 8;
/// Failures of each round, which every trace tells.
const FAILURES: u64 = 160;
/// Until then caches fill.
const WARM_UP: usize = 5;
/// Rounds of which the least memory counts: what is kept for good is in all of them, what is freed soon is not.
const JUDGED: usize = 5;

pub(crate) fn nothing_grows(lab: &Lab, scale: Scale) -> Result<()> {
    let server = lab.own_server()?;
    // What others do on this host is not to decide how much there is to tell.
    let netns = Netns::new()?;
    let rounds = usize::try_from(scale.of(25, 125))? + WARM_UP + JUDGED;
    let mut samples = Vec::new();
    for _ in 0..rounds {
        cycle(&server, &netns)?;
        samples.push(Holdings::of(server.pid())?);
    }
    let lowest = |samples: &[Holdings]| samples.iter().copied().min_by_key(|it| it.resident_kib);
    let (first, last) = (&samples[WARM_UP..WARM_UP + JUDGED], &samples[samples.len() - JUDGED..]);
    let (first, last) = lowest(first).zip(lowest(last)).context("too few rounds")?;
    println!("{} cycles: {first:?} → {last:?}", rounds * AT_ONCE);
    ensure!(last.files <= first.files, "descriptors: {first:?} → {last:?}");
    ensure!(last.threads <= first.threads + 2, "threads: {first:?} → {last:?}");
    // 1 MiB for each 1,000 cycles, and pages that history's connections cache as they come by them (at most 6 MiB).
    let grown = last.resident_kib.saturating_sub(first.resident_kib);
    let allowed = (rounds - WARM_UP - JUDGED) * AT_ONCE * 1024 / 1000 + 3 * 1024;
    ensure!(grown <= allowed as u64, "{grown} KiB more, {allowed} allowed: {first:?} → {last:?}");
    Ok(())
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
