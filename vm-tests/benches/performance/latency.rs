//! How long things take that somebody waits for.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::json;

use vm_tests::harness::{Reader, reader::processor_time, storm::paced};

use crate::{
    Bench,
    report::{Report, quantile},
    subject::peers,
};

const PER_SECOND: u32 = 10_000;

/// From the kernel's event to the WebSocket client, at a steady rate; and what it costs the server.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    const PART: &str = "10,000 failures a second to one WebSocket client";
    let time = Duration::from_secs(if bench.quick { 1 } else { 20 });
    let server = bench.lab.own_server()?;
    let mut reader = Reader::of_netns(&server, bench.netns.inode())?;
    let before = processor_time(server.pid())?;
    let begun = Instant::now();
    let mut seen = thread::scope(|scope| {
        let load = scope.spawn(|| paced(&bench.netns, PER_SECOND, time));
        let expected = u64::from(PER_SECOND) * time.as_secs();
        // The last burst may end a little early.
        let seen = reader.read(expected - u64::from(PER_SECOND) / 100)?;
        load.join().ok().context("the load panicked")??;
        anyhow::Ok(seen)
    })?;
    let took = begun.elapsed().as_secs_f64();
    let share = (processor_time(server.pid())? - before) / took * 100.0;
    seen.delays.sort_by(f64::total_cmp);
    for (name, at, goal) in [("p50", 0.5, 5.0), ("p99", 0.99, 25.0)] {
        let delay = quantile(&seen.delays, at);
        let what = format!("kernel event to client, {name}");
        report.judge(PART, what, format!("{delay:.1} ms"), format!("≤ {goal} ms"), delay <= goal);
    }
    let what = "processor time of the server";
    report.judge(PART, what, format!("{share:.1} % of a core"), "≤ 10 %", share <= 10.0);
    reader.stop().map(drop)
}

/// From the request to probes attached.
pub(crate) fn measure_attach(bench: &Bench, report: &mut Report) -> Result<()> {
    const PART: &str = "From the request to probes attached";
    let server = bench.lab.own_server()?;
    let times = if bench.quick { 5 } else { 200 };
    let create = |_| {
        let begun = Instant::now();
        let reply = server.api().post("/api/v1/traces", &json!({}))?;
        let took = begun.elapsed();
        reply.expect(201)?;
        server.api().delete(&reply.location)?;
        Ok(took.as_secs_f64() * 1e3)
    };
    let mut took = (0..times).map(create).collect::<Result<Vec<f64>>>()?;
    took.sort_by(f64::total_cmp);
    for (name, at, goal) in [("median", 0.5, 50.0), ("p99", 0.99, 100.0)] {
        let took = quantile(&took, at);
        let what = format!("POST → 201, {name} of {times}");
        report.judge(PART, what, format!("{took:.1} ms"), format!("≤ {goal} ms"), took <= goal);
    }
    if !peers().is_empty() {
        report.tell(PART, "bpftrace, one probe, to its first action", bpftrace_attach());
    }
    Ok(())
}

/// A script that ends as soon as its probes are attached.
fn bpftrace_attach() -> String {
    let script = "tracepoint:sock:inet_sock_set_state { @ = count(); } interval:ms:1 { exit(); }";
    let mut took = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let output = Command::new("bpftrace").args(["-e", script]).output();
        if !output.is_ok_and(|output| output.status.success()) {
            return "does not run".into();
        }
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    format!("{:.0} ms", quantile(&took, 0.5))
}
