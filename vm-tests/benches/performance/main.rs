//! What Synscope costs, on the machine at hand, beside its peers: `just bench`.
//!
//! Hosts are noisy, so that traced and untraced slices alternate within one run and only their ratios are told;
//! what a program takes is counted by the kernel itself (`kernel.bpf_stats_enabled`).

mod delivery;
mod empty;
mod footprint;
mod history;
mod latency;
mod machine;
mod programs;
mod report;
mod subject;
mod throughput;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;
use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};
use vm_tests::harness::{Lab, Netns};

use report::Report;

/// Measures what Synscope costs, beside its peers.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "flags are what a command line has")]
struct Options {
    /// Few and short slices: shows that everything works, not what it costs
    #[arg(long)]
    quick: bool,
    /// Only the parts whose name contains this; may be repeated
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Write the tables as Markdown; the path is seen from the repository's top
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    /// Time a release build into an empty target directory as well
    #[arg(long)]
    cold_build: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// What every part measures with.
struct Bench {
    lab: Lab,
    netns: Netns,
    quick: bool,
    /// In an emulated machine, everything takes longer.
    emulated: bool,
}

impl Bench {
    fn new(binary: PathBuf, quick: bool, emulated: bool) -> Result<Self> {
        let bench = Self { lab: Lab::new(binary), netns: Netns::new()?, quick, emulated };
        // Connections that both ends have closed would use up the ports of a healthy storm.
        bench.netns.sysctl("ipv4/tcp_max_tw_buckets", "0")?;
        Ok(bench)
    }
}

type Part = (&'static str, fn(&Bench, &mut Report) -> Result<()>);

const PARTS: &[Part] = &[
    ("throughput", throughput::measure),
    ("programs", programs::measure),
    ("traces", programs::measure_many),
    ("processors", programs::measure_processors),
    ("delivery", delivery::measure),
    ("latency", latency::measure),
    ("attach", latency::measure_attach),
    ("footprint", footprint::measure),
    ("history", history::measure),
    ("machine", machine::measure),
];

fn main() -> ExitCode {
    if machine::take_over() {
        return ExitCode::SUCCESS;
    }
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let binary = Lab::find_binary().context("no server: `cargo build --release` builds it")?;
    show_tracefs()?;
    let bench = Bench::new(binary, options.quick, false)?;
    let mut report = Report::new(options.quick);
    for (name, measure) in PARTS {
        if !options.only.is_empty() && !options.only.iter().any(|only| name.contains(only.as_str())) {
            continue;
        }
        eprintln!("measuring {name} …");
        measure(&bench, &mut report).with_context(|| format!("measuring {name}"))?;
    }
    if options.cold_build {
        footprint::measure_cold_build(&mut report)?;
    }
    if options.json {
        report.print_json()?;
    } else {
        report.print();
    }
    if let Some(path) = &options.markdown {
        // Cargo starts benches in their own package.
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        report.write_markdown(&top.join(path))?;
    }
    Ok(())
}

/// Peers look for tracepoints where tracefs is usually mounted. Where it is not, it is for this process and those
/// that it starts.
fn show_tracefs() -> Result<()> {
    const TRACEFS: &str = "/sys/kernel/tracing";
    if Path::new(TRACEFS).join("events").exists() {
        return Ok(());
    }
    // SAFETY: CLONE_NEWNS concerns mounts only, and shares or unshares no file descriptors or memory.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.context("unshare(CLONE_NEWNS)")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount("tracefs", TRACEFS, "tracefs", MountFlags::empty(), None).context("mounting tracefs")
}
