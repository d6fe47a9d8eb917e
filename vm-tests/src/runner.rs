//! Runs scenarios, several at once, and says how each ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::harness::{Lab, missed};
use crate::scenarios::Scenario;
use crate::vm::protocol::Fact;

/// Scenarios mostly wait for the kernel's timers, so more of them than cores can run at once.
pub const WORKERS: usize = 8;

/// Topic of the fact that a scenario was run again.
pub const REPEATED: &str = "repeated for missed events";

/// How often a scenario is run at most.
const TRIES: usize = 3;

/// How a scenario ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was as expected.
    Passed,
    /// Something was not, or the scenario hung or panicked.
    Failed(String),
    /// The kernel lacks what the scenario needs.
    Unsupported {
        /// What is lacking.
        reason: String,
        /// Whether the kernel is too old to have it. A newer one should, and then it is a failure.
        excused: bool,
    },
}

/// What [`run_all`] reports as it goes.
#[derive(Debug)]
pub enum Progress {
    /// The scenario begins.
    Started,
    /// The scenario ended, after so long.
    Finished(Outcome, Duration),
}

/// Runs one scenario, and again if it fails while the kernel misses events, which it counts.
pub fn run_one(lab: &Arc<Lab>, scenario: Scenario) -> Outcome {
    match lacking(&scenario) {
        Ok(None) => {}
        Ok(Some(lack)) => return lack,
        Err(error) => return Outcome::Failed(format!("{error:#}")),
    }
    for _ in 1..TRIES {
        let before = missed();
        match run_once(lab, scenario) {
            Outcome::Failed(why) if missed() > before => {
                eprintln!("{}: again, the kernel missed events: {why}", scenario.name);
                lab.note(Fact::new(REPEATED, scenario.name, "1"));
            }
            outcome => return outcome,
        }
    }
    run_once(lab, scenario)
}

/// On a thread of its own. One that hangs is left behind.
fn run_once(lab: &Arc<Lab>, scenario: Scenario) -> Outcome {
    let (sender, receiver) = mpsc::channel();
    let lab = Arc::clone(lab);
    thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| (scenario.run)(&lab)));
        // Nobody listens any more when the limit has passed.
        let _ = sender.send(outcome(result));
    });
    receiver
        .recv_timeout(scenario.limit)
        .unwrap_or_else(|_| Outcome::Failed(format!("hung: no end after {:?}", scenario.limit)))
}

/// Runs all of them in order on `workers` threads.
pub fn run_all(
    lab: &Arc<Lab>,
    scenarios: &[Scenario],
    workers: usize,
    report: impl Fn(&Scenario, Progress) + Sync,
) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    report(scenario, Progress::Started);
                    let outcome = run_one(lab, *scenario);
                    report(scenario, Progress::Finished(outcome, begun.elapsed()));
                }
            });
        }
    });
}

/// Requires what every scenario needs: root, and a kernel that lists its BPF programs.
pub fn check_surroundings() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("not root; namespaces and BPF need it");
    }
    if let Err(error) = crate::harness::kernel::loaded_programs() {
        bail!("the kernel does not list its BPF programs: {error:#}");
    }
    Ok(())
}

fn lacking(scenario: &Scenario) -> Result<Option<Outcome>> {
    for need in scenario.needs {
        if let Some(lack) = need.check()? {
            return Ok(Some(Outcome::Unsupported { reason: lack.reason, excused: lack.excused }));
        }
    }
    Ok(None)
}

fn outcome(result: thread::Result<Result<()>>) -> Outcome {
    match result {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(error)) => Outcome::Failed(format!("{error:#}")),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Outcome::Failed(format!("panicked: {}", text.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn scenario(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
        // Long enough for a panic to print where it came from.
        let limit = Duration::from_millis(if name == "hangs" { 200 } else { 20_000 });
        Scenario { name, needs: &[], limit, place: crate::scenarios::Place::Anywhere, run }
    }

    #[test]
    fn every_way_to_end_has_its_outcome() {
        let scenarios = [
            scenario("passes", |_| Ok(())),
            scenario("fails", |_| bail!("as meant")),
            scenario("panics", |_| panic!("as meant")),
            scenario("hangs", |_| {
                thread::sleep(Duration::from_mins(1));
                Ok(())
            }),
        ];
        let lab = Arc::new(Lab::new("/nonexistent".into()));
        let ended = Mutex::new(Vec::new());
        run_all(&lab, &scenarios, 2, |scenario, progress| {
            if let Progress::Finished(outcome, _) = progress {
                ended.lock().unwrap().push((scenario.name, outcome));
            }
        });
        let mut ended = ended.into_inner().unwrap();
        ended.sort_by_key(|(name, _)| *name);
        assert_eq!(ended[0], ("fails", Outcome::Failed("as meant".to_owned())));
        assert!(matches!(&ended[1], ("hangs", Outcome::Failed(why)) if why.starts_with("hung")));
        assert_eq!(ended[2], ("panics", Outcome::Failed("panicked: as meant".to_owned())));
        assert_eq!(ended[3], ("passes", Outcome::Passed));
    }
}
