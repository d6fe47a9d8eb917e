//! Whether all failures of a storm arrive, and if not, whether every missing one is counted.

use std::thread;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use vm_tests::harness::{Length, Load, Reader, Seen, storms};

use crate::{Bench, report::Report};

const PART: &str = "Delivery of a refused storm at full speed to one WebSocket client";

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let count = if bench.quick { 20_000 } else { 1_000_000 };
    for threads in [1, 2] {
        let server = bench.lab.own_server()?;
        let mut reader = Reader::of_netns(&server, bench.netns.inode())?;
        let seen = storm_and_read(bench, &mut reader, threads, count)?;
        let counters = reader.stop()?;
        let number = |pointer: &str| counters.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let produced = number("/produced");
        let lost = number("/lost/ringbuf") + number("/lost/queue");
        ensure!(produced >= count, "{produced} of {count} failures were produced");
        let unaccounted = produced.abs_diff(seen.failures + seen.missed + lost);
        // A full run tells it beside its goal.
        ensure!(
            !bench.quick || unaccounted == 0,
            "{unaccounted} of {produced} failures are not accounted for"
        );
        let told = format!(
            "{} of {produced}; {lost} lost before, {} in gaps, {unaccounted} unaccounted",
            seen.failures, seen.missed
        );
        let (goal, reached) = if threads == 1 {
            ("all", seen.failures == produced)
        } else {
            ("all, or all counted", unaccounted == 0)
        };
        report.judge(PART, format!("{threads} storming"), told, goal, reached);
    }
    Ok(())
}

fn storm_and_read(bench: &Bench, reader: &mut Reader, threads: u64, count: u64) -> Result<Seen> {
    let length = Length::Times(count / threads);
    thread::scope(|scope| {
        let storms = scope.spawn(|| storms(&bench.netns, Load::Refused, length, threads));
        let seen = reader.read(count)?;
        storms.join().ok().context("the storms panicked")??;
        Ok(seen)
    })
}
