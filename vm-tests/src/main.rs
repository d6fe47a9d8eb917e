//! Runs the scenarios on kernels booted in QEMU.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use vm_tests::scenarios;
use vm_tests::vm::arch::{AMD64, Arch};
use vm_tests::vm::lock::Lock;
use vm_tests::vm::matrix::{self, Setup};
use vm_tests::vm::package::{Image, Store};
use vm_tests::vm::protocol::ONLY;
use vm_tests::vm::qemu::{self, Accelerator, Boot};
use vm_tests::vm::report::{self, Totals};
use vm_tests::vm::{kernels, programs};

/// Runs Synscope's scenarios on kernels booted in QEMU.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boot kernels and run the scenarios in each.
    Run(Run),
    /// Resolve every series to its newest package and write kernels.lock.
    Update {
        /// Only this series; may be repeated.
        #[arg(long = "kernel", value_name = "SERIES")]
        kernels: Vec<String>,
    },
}

#[derive(clap::Args)]
struct Run {
    /// Only this series; may be repeated. Default: all of kernels.toml.
    #[arg(long = "kernel", value_name = "SERIES")]
    kernels: Vec<String>,
    /// Boot this image in place of Debian's kernels.
    #[arg(long, value_name = "FILE", conflicts_with = "kernels")]
    kernel_image: Option<PathBuf>,
    /// Only scenarios whose name contains this; may be repeated.
    #[arg(long = "scenario", value_name = "PART")]
    scenarios: Vec<String>,
    /// List kernels and scenarios, and do nothing.
    #[arg(long)]
    list: bool,
    /// What runs the guests.
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    accel: Accel,
    /// How many machines at once. Default: one a core, as far as memory goes.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// How long one machine may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Write a JUnit report.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a JSON report.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Accel {
    /// KVM when a bounded probe proves that it works, else TCG.
    Auto,
    Kvm,
    Tcg,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(run) if run.list => list(&run),
        Command::Run(run) => run.go(&AMD64),
        Command::Update { kernels } => update(&kernels, &AMD64),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vm-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// This program stands in TARGET/PROFILE, and everything it keeps goes below TARGET.
fn target_dir() -> Result<PathBuf> {
    let program = env::current_exe()?;
    Ok(program.ancestors().nth(2).context("not in a target directory")?.to_owned())
}

fn list(run: &Run) -> Result<bool> {
    let lock = Lock::load(&Lock::path())?;
    for kernel in kernels::select(&run.kernels)? {
        let locked = lock.find(&kernel.series, AMD64.debian);
        let version = locked.map_or("not locked", |locked| &locked.version);
        println!("kernel {} ({}): {version}", kernel.series, kernel.suite);
    }
    for scenario in scenarios::matching(&run.scenarios) {
        let place = if scenario.heavy { " (on the host only)" } else { "" };
        println!("scenario {}{place}", scenario.name);
    }
    Ok(true)
}

fn update(series: &[String], arch: &Arch) -> Result<bool> {
    let path = Lock::path();
    let mut lock = Lock::load(&path)?;
    let mut store = Store::new(&target_dir()?.join("vm"), arch);
    for kernel in kernels::select(series)? {
        let newest = store.newest(&kernel)?;
        println!("{}: {} {}", newest.series, newest.package, newest.version);
        lock.set(newest);
    }
    lock.save(&path)?;
    Ok(true)
}

impl Run {
    fn go(&self, arch: &'static Arch) -> Result<bool> {
        if scenarios::matching(&self.scenarios).is_empty() {
            bail!("no scenario's name contains {}", self.scenarios.join(" or "));
        }
        let target_dir = target_dir()?;
        let work = target_dir.join("vm");
        let logs = work.join("logs");
        fs::create_dir_all(&logs)?;
        let mut notices = Vec::new();
        let images = self.images(&work, arch, &mut notices)?;
        let initramfs = work.join(format!("initramfs-{}", arch.debian));
        programs::write_initramfs(&programs::build(arch, &target_dir)?, &initramfs)?;
        let mut words = String::new();
        if !self.scenarios.is_empty() {
            words = format!("{ONLY}{}", self.scenarios.join(","));
        }
        let setup = Setup {
            arch,
            initramfs: &initramfs,
            logs: &logs,
            accelerator: self.accelerator(arch, &images, &initramfs, &logs),
            words: &words,
            limit: Duration::from_secs(self.timeout),
            jobs: self.jobs.unwrap_or_else(default_jobs).max(1),
        };
        eprintln!("{} kernels, {} at once, {}", images.len(), setup.jobs, setup.accelerator);
        let reports = matrix::run(&setup, &images)?;
        print!("{}", report::table(&reports));
        for notice in notices {
            println!("{notice}");
        }
        self.write_reports(&reports)?;
        let totals = Totals::of(&reports);
        println!("{} passed, {} failed, {} skipped", totals.passed, totals.failed, totals.skipped);
        Ok(totals.failed == 0)
    }

    fn images(&self, work: &Path, arch: &Arch, notices: &mut Vec<String>) -> Result<Vec<Image>> {
        if let Some(path) = &self.kernel_image {
            let path = path.canonicalize().with_context(|| format!("{}", path.display()))?;
            let series = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(vec![Image { series, version: String::new(), path }]);
        }
        let lock = Lock::load(&Lock::path())?;
        let mut store = Store::new(work, arch);
        let selected = kernels::select(&self.kernels)?;
        selected.iter().map(|kernel| store.image(kernel, &lock, notices)).collect()
    }

    fn accelerator(
        &self,
        arch: &'static Arch,
        images: &[Image],
        initramfs: &Path,
        logs: &Path,
    ) -> Accelerator {
        match (self.accel, images.first()) {
            (Accel::Kvm, _) => Accelerator::Kvm,
            (Accel::Auto, Some(image)) => {
                let console = logs.join("kvm-probe.console");
                qemu::probe(&Boot { arch, kernel: &image.path, initramfs, console: &console, words: "" })
            }
            (Accel::Auto | Accel::Tcg, _) => Accelerator::Tcg,
        }
    }

    fn write_reports(&self, reports: &[vm_tests::vm::machine::Report]) -> Result<()> {
        if let Some(path) = &self.junit {
            fs::write(path, report::junit(reports)).with_context(|| format!("{}", path.display()))?;
        }
        if let Some(path) = &self.json {
            let text = format!("{:#}\n", report::json(reports));
            fs::write(path, text).with_context(|| format!("{}", path.display()))?;
        }
        Ok(())
    }
}

/// One machine a core, as long as each finds 1.5 GB free.
fn default_jobs() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = available.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    cores.min(kilobytes.map_or(cores, |kilobytes| kilobytes / (1536 << 10)))
}
