//! `/init` of the test machine: runs the scenarios, tells the host, powers off.

mod inject;
mod modprobe;
mod results;

use std::env;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};

use crate::harness::{Lab, actor, kernel, netns};
use crate::runner::{self, Outcome, Progress};
use crate::scenarios::{self, Place, Scenario};
use crate::vm::protocol::{AGAIN, EMULATED, Fact, INJECT, ONLY, PROBE, PROTOCOL, RESULTS, Record, patience};
use results::Results;

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

/// Of a failure that may not last, reports show the beginning; all of it is on the console.
const REASON_LIMIT: usize = 200;

/// The guest, under each of the names that it is started by.
pub fn main() {
    let name = env::args_os().next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == "modprobe") {
        return modprobe::main();
    }
    actor::take_part();
    if let Err(error) = run() {
        eprintln!("guest: {error:#}");
    }
    let error = reboot(RebootCommand::PowerOff);
    // Process 1 that ends panics the kernel, which the host sees.
    eprintln!("guest: powering off: {error:?}");
}

fn run() -> Result<()> {
    mount_file_systems()?;
    netns::raise_loopback().context("raising lo")?;
    // What eight scenarios have open together may be more than the first process is given.
    kernel::raise_descriptor_limit().context("raising the limit of descriptors")?;
    let words = fs::read_to_string("/proc/cmdline")?;
    let word = |name: &str| words.split_whitespace().find_map(|word| word.strip_prefix(name));
    let results = Arc::new(Results::open(word(RESULTS).context("the host names no port for results")?)?);
    let uptime_s = uptime()?;
    results.tell(&Record::Hello { protocol: PROTOCOL, kernel: kernel::release(), uptime_s });
    if word(PROBE).is_some() {
        return Ok(());
    }
    let parts: Vec<String> = word(ONLY).into_iter().flat_map(|it| it.split(',')).map(str::to_owned).collect();
    let mut scenarios = scenarios::matching(&parts);
    scenarios.retain(|scenario| scenario.place != Place::Host);
    if let Some(kind) = word(INJECT) {
        scenarios.push(inject::scenario(kind, &results)?);
    }
    for scenario in &mut scenarios {
        scenario.limit = scenario.limit.mul_f64(patience(uptime_s));
    }
    let names = scenarios.iter().map(|scenario| scenario.name.to_owned()).collect();
    results.tell(&Record::Plan { scenarios: names });
    let lab = Arc::new(Lab::new("/bin/synscope".into()));
    run_scenarios(&lab, scenarios, &results, word(EMULATED).is_some());
    for fact in facts(&lab) {
        results.tell(&Record::Fact(fact));
    }
    if let Some(log) = lab.close() {
        eprintln!("--- log of the shared server ---\n{log}");
    }
    results.tell(&Record::End);
    Ok(())
}

/// Side by side those that can be. On an emulated processor that many share, timers come late and what is to happen
/// within a second does not: who fails there is tried once more, alone, and a fact says so.
fn run_scenarios(lab: &Arc<Lab>, scenarios: Vec<Scenario>, results: &Results, emulated: bool) {
    let (alone, together): (Vec<_>, Vec<_>) =
        scenarios.into_iter().partition(|scenario| scenario.place == Place::Alone);
    let again = Mutex::new(Vec::new());
    runner::run_all(lab, &together, runner::WORKERS, |scenario, progress| match progress {
        Progress::Finished(Outcome::Failed(why), _) if emulated => {
            eprintln!("guest: {}: again, alone: {why}", scenario.name);
            // What was expected comes before the event that was found.
            let start = why.lines().next().unwrap_or_default().split(" in {").next().unwrap_or_default();
            let start: String = start.chars().take(REASON_LIMIT).collect();
            lab.note(Fact::new(AGAIN, scenario.name, start));
            again.lock().unwrap_or_else(PoisonError::into_inner).push(*scenario);
        }
        progress => tell(results, scenario, progress),
    });
    let again = again.into_inner().unwrap_or_else(PoisonError::into_inner);
    runner::run_all(lab, &again, 1, |scenario, progress| {
        // The host has been told that it started.
        if matches!(progress, Progress::Finished(..)) {
            tell(results, scenario, progress);
        }
    });
    runner::run_all(lab, &alone, 1, |scenario, progress| tell(results, scenario, progress));
}

fn tell(results: &Results, scenario: &Scenario, progress: Progress) {
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
}

/// Mounts what programs expect to find.
pub(crate) fn mount_file_systems() -> Result<()> {
    MOUNTS.iter().try_for_each(|(kind, point)| mount_on(point, kind))
}

/// Mounts a file system of the kernel's own.
pub(crate) fn mount_on(point: &str, kind: &str) -> Result<()> {
    mount(kind, point, kind, MountFlags::empty(), None).with_context(|| format!("mounting {kind} on {point}"))
}

/// Seconds since the kernel started.
fn uptime() -> Result<f64> {
    let uptime = fs::read_to_string("/proc/uptime")?;
    Ok(uptime.split(' ').next().unwrap_or_default().parse()?)
}

/// What scenarios have learnt of this kernel, and what the server says that it can do on it.
fn facts(lab: &Lab) -> Vec<Fact> {
    let mut facts = lab.facts();
    match features(lab) {
        Ok(features) => facts.extend(features),
        Err(error) => eprintln!("guest: what the server can do here: {error:#}"),
    }
    facts
}

fn features(lab: &Lab) -> Result<Vec<Fact>> {
    let report = lab.server()?.api().get("/api/v1/capabilities")?.expect(200)?;
    let checks = report.list("/checks")?;
    checks
        .iter()
        .map(|check| Ok(Fact::new("feature", check.text("/name")?, check.text("/status")?)))
        .collect()
}
