//! Runs the scenarios on kernels booted in QEMU.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use vm_tests::compare;
use vm_tests::harness::{Lab, actor};
use vm_tests::scenarios::{self, Place};
use vm_tests::vm::apt::Gone;
use vm_tests::vm::arch::{Arch, Choice};
use vm_tests::vm::board::Board;
use vm_tests::vm::kernels;
use vm_tests::vm::lock::Lock;
use vm_tests::vm::matrix::{self, Setup};
use vm_tests::vm::package::{Image, Store};
use vm_tests::vm::programs::{self, Programs};
use vm_tests::vm::protocol::{INJECT, Injection, ONLY};
use vm_tests::vm::qemu::{self, Accelerator, Boot};
use vm_tests::vm::report::{self, Absent, Summary, Totals};

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
    /// Run other tools beside Synscope, and write what each tells into docs/comparison.md (root, unless in QEMU).
    Compare {
        /// On this series of kernels.toml, in QEMU, in place of the running kernel.
        #[arg(long = "kernel", value_name = "SERIES")]
        series: Option<String>,
    },
    /// Write docs/kernels.md from the JSON reports of runs.
    Document {
        /// A report that `run --json` wrote; one for each architecture.
        #[arg(value_name = "FILE", required = true)]
        reports: Vec<PathBuf>,
    },
}

#[derive(clap::Args)]
struct Run {
    /// What to boot.
    #[arg(long, value_enum, default_value_t = Choice::native())]
    arch: Choice,
    /// Only this series; may be repeated. Default: all of kernels.toml.
    #[arg(long = "kernel", value_name = "SERIES")]
    kernels: Vec<String>,
    /// Boot this image in place of Debian's kernels.
    #[arg(long, value_name = "FILE", conflicts_with = "kernels")]
    kernel_image: Option<PathBuf>,
    /// Its modules: a directory like /lib/modules/VERSION.
    #[arg(long, value_name = "DIRECTORY", requires = "kernel_image")]
    modules: Option<PathBuf>,
    /// Only scenarios whose name contains this; may be repeated.
    #[arg(long = "scenario", value_name = "PART")]
    scenarios: Vec<String>,
    /// Only the scenarios whose names, or parts of them, are in this file, one a line; `#` starts a comment.
    #[arg(long, value_name = "FILE")]
    scenario_list: Option<PathBuf>,
    /// List kernels and scenarios, and do nothing.
    #[arg(long)]
    list: bool,
    /// What runs the guests.
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    accel: Accel,
    /// How many machines at once. Default: one a core, and one more if they are emulated, as far as memory goes.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// How long one machine may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Have every guest fail in this way, to see that it is noticed.
    #[arg(long, value_enum, value_name = "KIND")]
    inject_failure: Option<Injection>,
    /// Write a JUnit report.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a JSON report.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a Markdown report. On GitHub Actions the job's summary gets it in any case.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Accel {
    /// KVM when a bounded probe proves that it works, else TCG.
    Auto,
    Kvm,
    Tcg,
}

fn main() -> ExitCode {
    actor::take_part();
    if compare::take_over() {
        return ExitCode::SUCCESS;
    }
    let result = match Cli::parse().command {
        Command::Run(run) if run.list => list(&run),
        Command::Run(run) => run.go(run.arch.arch()),
        Command::Update { kernels } => update(&kernels),
        Command::Compare { series } => compare(series.as_deref()),
        Command::Document { reports } => document(&reports),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vm-tests: {error:#}");
            NOTHING_TESTED.into()
        }
    }
}

/// The exit code when no verdict was reached: no kernel, no QEMU, wrong usage.
const NOTHING_TESTED: u8 = 2;

/// This program stands in TARGET/PROFILE, and everything it keeps goes below TARGET.
fn target_dir() -> Result<PathBuf> {
    let program = env::current_exe()?;
    Ok(program.ancestors().nth(2).context("not in a target directory")?.to_owned())
}

fn list(run: &Run) -> Result<bool> {
    let lock = Lock::load(&Lock::path())?;
    for kernel in kernels::select(&run.kernels)? {
        let locked = lock.find(&kernel.series, run.arch.arch().debian);
        let version = locked.map_or("not locked", |locked| &locked.version);
        println!("kernel {} ({}): {version}", kernel.series, kernel.suite);
    }
    for scenario in scenarios::matching(&run.scenarios) {
        let place = match scenario.place {
            Place::Anywhere => "",
            Place::Host => " (on the host only)",
            Place::Guest | Place::Alone => " (in virtual machines only)",
        };
        println!("scenario {}{place}", scenario.name);
    }
    Ok(true)
}

fn update(series: &[String]) -> Result<bool> {
    let path = Lock::path();
    let mut lock = Lock::load(&path)?;
    for arch in Choice::value_variants().iter().map(|choice| choice.arch()) {
        let mut store = Store::new(&target_dir()?.join("vm"), arch);
        for kernel in kernels::select(series)? {
            let newest = store.newest(&kernel)?;
            println!("{} on {}: {}", newest.series, newest.arch, newest.version);
            lock.set(newest);
        }
    }
    lock.save(&path)?;
    Ok(true)
}

fn compare(series: Option<&str>) -> Result<bool> {
    let synscope =
        Lab::find_binary().context("no synscope: `just build` makes it, SYNSCOPE_BIN names another")?;
    compare::run(compare::Place { synscope: &synscope, target_dir: &target_dir()? }, series)?;
    Ok(true)
}

fn document(reports: &[PathBuf]) -> Result<bool> {
    let read = |path: &PathBuf| -> Result<Summary> {
        let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no report", path.display()))
    };
    let summaries = reports.iter().map(read).collect::<Result<Vec<_>>>()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kernels.md");
    fs::write(&path, report::document(&summaries)).with_context(|| format!("{}", path.display()))?;
    Ok(true)
}

impl Run {
    fn go(&self, arch: &'static Arch) -> Result<bool> {
        let wanted = self.wanted()?;
        let target_dir = target_dir()?;
        let work = target_dir.join("vm");
        let logs = work.join("logs");
        fs::create_dir_all(&logs)?;
        let mut notices = Vec::new();
        let (images, absent) = self.images(&work, arch, &mut notices)?;
        let programs = programs::build(arch, &target_dir)?;
        let accelerator = self.accelerator(arch, &programs, &images, &logs)?;
        let setup = Setup {
            arch,
            programs: &programs,
            logs: &logs,
            accelerator,
            words: &self.words(&wanted),
            limit: Duration::from_secs(self.timeout),
            jobs: self.jobs.unwrap_or_else(|| default_jobs(accelerator)).max(1),
        };
        eprintln!("{} kernels, {} at once, {}", images.len(), setup.jobs, setup.accelerator);
        let begun = Instant::now();
        let board = Board::new(images.iter().map(|image| image.series.clone()));
        let mut summary = Summary::new(arch, setup.accelerator, &matrix::run(&setup, &images, &board)?);
        (summary.absent, summary.scenario_list) = (absent, self.scenario_list.clone());
        print!("{}", report::text(&summary));
        for notice in notices {
            println!("{notice}");
        }
        self.write_reports(&summary)?;
        let Totals { passed, failed, skipped } = summary.totals();
        let took = begun.elapsed().as_secs_f64();
        println!("{}: {passed} passed, {failed} failed, {skipped} skipped in {took:.0} s", arch.debian);
        Ok(failed == 0)
    }

    /// Parts of names of the scenarios that are to run; none means all.
    fn wanted(&self) -> Result<Vec<String>> {
        let mut wanted = self.scenarios.clone();
        if let Some(path) = &self.scenario_list {
            let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
            let names = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
            wanted.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
            if wanted.is_empty() {
                bail!("{} names no scenario", path.display());
            }
        }
        for part in &wanted {
            if scenarios::matching(std::slice::from_ref(part)).is_empty() {
                bail!("no scenario's name contains {part}");
            }
        }
        Ok(wanted)
    }

    /// More words for the kernels' command lines.
    fn words(&self, wanted: &[String]) -> String {
        let only = (!wanted.is_empty()).then(|| format!("{ONLY}{}", wanted.join(",")));
        let inject = self.inject_failure.map(|injection| format!("{INJECT}{}", injection.name()));
        only.into_iter().chain(inject).collect::<Vec<_>>().join(" ")
    }

    /// Kernels to boot, and those that the mirror has lost: they are no failure, unless they were asked for by name.
    fn images(
        &self,
        work: &Path,
        arch: &Arch,
        notices: &mut Vec<String>,
    ) -> Result<(Vec<Image>, Vec<Absent>)> {
        if let Some(path) = &self.kernel_image {
            let path = path.canonicalize().with_context(|| format!("{}", path.display()))?;
            let series = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let image = Image { series, version: String::new(), path, modules: self.modules.clone() };
            return Ok((vec![image], Vec::new()));
        }
        let lock = Lock::load(&Lock::path())?;
        let mut store = Store::new(work, arch);
        let (mut images, mut absent) = (Vec::new(), Vec::new());
        for kernel in kernels::select(&self.kernels)? {
            match store.image(&kernel, &lock, notices) {
                Ok(image) => images.push(image),
                Err(error) if error.is::<Gone>() && self.kernels.is_empty() => {
                    absent.push(Absent { series: kernel.series, reason: error.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok((images, absent))
    }

    fn accelerator(
        &self,
        arch: &'static Arch,
        programs: &Programs,
        images: &[Image],
        logs: &Path,
    ) -> Result<Accelerator> {
        let image = images.first().context("no kernel")?;
        match self.accel {
            Accel::Kvm => return Ok(Accelerator::Kvm),
            Accel::Auto if arch.is_native() => {}
            Accel::Auto | Accel::Tcg => return Ok(Accelerator::Tcg),
        }
        let (console, initramfs) = (logs.join("kvm-probe.console"), logs.join("kvm-probe.initramfs"));
        matrix::prepare(programs, image, &initramfs)?;
        let boot = Boot {
            arch,
            kernel: &image.path,
            initramfs: &initramfs,
            console: &console,
            processors: None,
            words: "",
        };
        Ok(qemu::probe(&boot))
    }

    fn write_reports(&self, summary: &Summary) -> Result<()> {
        let write = |path: &Option<PathBuf>, text: String| match path {
            Some(path) => fs::write(path, text).with_context(|| format!("{}", path.display())),
            None => Ok(()),
        };
        write(&self.junit, report::junit(summary))?;
        write(&self.json, serde_json::to_string_pretty(summary)? + "\n")?;
        write(&self.markdown, report::markdown(summary))?;
        if env::var_os("GITHUB_ACTIONS").is_some() {
            print!("{}", report::annotations(summary));
        }
        if let Some(path) = env::var_os("GITHUB_STEP_SUMMARY") {
            let mut file = File::options().append(true).create(true).open(path)?;
            file.write_all(report::markdown(summary).as_bytes())?;
        }
        Ok(())
    }
}

/// One machine a core, as long as each finds 1.5 GB free. An emulated one keeps one core busy, and waits for a fifth of its
/// time: one more makes use of that.
fn default_jobs(accelerator: Accelerator) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let jobs = cores + usize::from(accelerator == Accelerator::Tcg);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = available.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    jobs.min(kilobytes.map_or(jobs, |kilobytes| kilobytes / (1536 << 10)))
}
