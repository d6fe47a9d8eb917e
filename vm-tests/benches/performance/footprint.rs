//! Memory and disk.

use std::{env, fs, path::Path, process::Command, time::Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vm_tests::harness::Server;

use crate::{Bench, report::Report};

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    const PART: &str = "Footprint";
    let server = bench.lab.own_server()?;
    let mib = |value: f64| format!("{value:.1} MiB");
    let idle = memory(&server, "VmRSS")?;
    report.judge(PART, "resident, idle", mib(idle), "≤ 15 MiB", idle <= 15.0);
    let reply = server.api().post("/api/v1/traces", &json!({}))?;
    reply.expect(201)?;
    let tracing = memory(&server, "VmRSS")?;
    report.judge(PART, "resident, one trace", mib(tracing), "≤ 30 MiB", tracing <= 30.0);
    #[expect(clippy::cast_precision_loss)]
    let size = fs::metadata(bench.lab.binary())?.len() as f64 / 1024.0 / 1024.0;
    report.judge(PART, "the binary", mib(size), "≤ 15 MiB", size <= 15.0);
    Ok(())
}

/// Mebibytes of a server's memory, by the field's name in /proc/PID/status.
pub(crate) fn memory(server: &Server, field: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.with_context(|| format!("no {field}"))?.trim().trim_end_matches(" kB");
    Ok(kib.parse::<f64>()? / 1024.0)
}

/// A release build into an empty target directory.
pub(crate) fn measure_cold_build(report: &mut Report) -> Result<()> {
    let target = tempfile::tempdir()?;
    let begun = Instant::now();
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--locked", "--target-dir"])
        .arg(target.path())
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .status()?;
    ensure!(status.success(), "the build failed");
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    report.judge("Build", "release, cold", format!("{minutes:.1} min"), "≤ 5 min", minutes <= 5.0);
    Ok(())
}
