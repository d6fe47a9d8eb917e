//! `/init` of the test machine: runs the scenarios, tells the host, powers off.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};
use rustix::termios::tcdrain;
use vm_tests::harness::{Lab, actor, kernel, netns};
use vm_tests::runner::{self, Outcome, Progress};
use vm_tests::scenarios;
use vm_tests::vm::protocol::{ONLY, PROBE, PROTOCOL, RESULTS, Record};

/// File systems, in the order in which their mount points come to be.
const MOUNTS: &[(&str, &str)] = &[
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/tmp"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("bpf", "/sys/fs/bpf"),
    ("tracefs", "/sys/kernel/tracing"),
];

fn main() {
    actor::take_part();
    if let Err(error) = run() {
        eprintln!("guest: {error:#}");
    }
    let error = reboot(RebootCommand::PowerOff);
    // Process 1 that ends panics the kernel, which the host sees.
    eprintln!("guest: powering off: {error:?}");
}

fn run() -> Result<()> {
    for (kind, point) in MOUNTS {
        mount(*kind, *point, *kind, MountFlags::empty(), None)
            .with_context(|| format!("mounting {kind} on {point}"))?;
    }
    netns::raise_loopback().context("raising lo")?;
    let words = fs::read_to_string("/proc/cmdline")?;
    let word = |name: &str| words.split_whitespace().find_map(|word| word.strip_prefix(name));
    let results = Results::open(word(RESULTS).context("the host names no port for results")?)?;
    results.tell(&hello()?);
    if word(PROBE).is_some() {
        return Ok(());
    }
    let parts: Vec<String> = word(ONLY).into_iter().flat_map(|it| it.split(',')).map(str::to_owned).collect();
    let mut scenarios = scenarios::matching(&parts);
    scenarios.retain(|scenario| !scenario.heavy);
    let names = scenarios.iter().map(|scenario| scenario.name.to_owned()).collect();
    results.tell(&Record::Plan { scenarios: names });
    let lab = Arc::new(Lab::new("/bin/synscope".into()));
    runner::run_all(&lab, &scenarios, runner::WORKERS, |scenario, progress| {
        results.tell(&match progress {
            Progress::Started => Record::Start { scenario: scenario.name.to_owned() },
            Progress::Finished(outcome, took) => {
                if let Outcome::Failed(why) = &outcome {
                    eprintln!("guest: {}: {why}", scenario.name);
                }
                let milliseconds = took.as_millis().try_into().unwrap_or(u64::MAX);
                Record::result(scenario.name, outcome, milliseconds)
            }
        });
    });
    if let Some(log) = lab.close() {
        eprintln!("--- log of the shared server ---\n{log}");
    }
    results.tell(&Record::End);
    Ok(())
}

fn hello() -> Result<Record> {
    let uptime = fs::read_to_string("/proc/uptime")?;
    let uptime_s = uptime.split(' ').next().unwrap_or_default().parse()?;
    Ok(Record::Hello { protocol: PROTOCOL, kernel: kernel::release(), uptime_s })
}

/// The serial port to the host.
struct Results(Mutex<File>);

impl Results {
    fn open(port: &str) -> Result<Self> {
        let file = OpenOptions::new().write(true).open(port).with_context(|| port.to_owned())?;
        Ok(Self(Mutex::new(file)))
    }

    /// Whole lines only, and out of the buffer: the machine may die at any moment.
    fn tell(&self, record: &Record) {
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = port.write_all(record.line().as_bytes());
        if let Err(error) = told.and_then(|()| Ok(tcdrain(port.as_fd())?)) {
            eprintln!("guest: telling the host: {error}");
        }
    }
}
