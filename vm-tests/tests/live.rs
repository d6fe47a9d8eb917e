//! The scenarios against the real binary on this machine's kernel, each as a test of its own.
//!
//! Needs root and BPF. Without them every test is ignored and says why; with `CI=true` that fails.

use std::env;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use vm_tests::harness::{Lab, actor, kernel};
use vm_tests::runner::{self, Outcome};
use vm_tests::scenarios::{self, Place, Scenario};

fn main() -> ExitCode {
    actor::take_part();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(runner::WORKERS);
    let binary = Lab::find_binary();
    if binary.is_none() && !arguments.list {
        eprintln!("no server to test: `cargo build --release` builds it, SYNSCOPE_BIN names another");
        return ExitCode::FAILURE;
    }
    let lab = Arc::new(Lab::new(binary.unwrap_or_default()));
    let missing = runner::check_surroundings().and_then(|()| kernel::raise_descriptor_limit());
    let missing = missing.err().map(|error| format!("{error:#}"));
    if let Some(missing) = &missing {
        eprintln!("LIVE TESTS DO NOT RUN: {missing}");
    }
    let failures = Failures::default();
    let trials = scenarios::all()
        .into_iter()
        .filter(|scenario| !matches!(scenario.place, Place::Guest | Place::Alone))
        .map(|scenario| trial(Arc::clone(&lab), scenario, missing.clone(), Arc::clone(&failures)))
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(log) = lab.close().filter(|_| conclusion.has_failed()) {
        eprintln!("--- log of the shared server ---\n{log}");
    }
    // Once more, where whoever reads the end of a long output finds them.
    for (name, why) in failures.lock().iter().flat_map(|failures| failures.iter()) {
        eprintln!("--- {name} ---\n{why}");
    }
    conclusion.exit_code()
}

/// The scenarios that failed, and why.
type Failures = Arc<Mutex<Vec<(&'static str, String)>>>;

fn trial(lab: Arc<Lab>, scenario: Scenario, missing: Option<String>, failures: Failures) -> Trial {
    Trial::ignorable_test(scenario.name, move || {
        if let Some(missing) = missing {
            return skip(&missing);
        }
        match runner::run_one(&lab, scenario) {
            Outcome::Passed => Ok(Completion::Completed),
            Outcome::Failed(why) => {
                if let Ok(mut failures) = failures.lock() {
                    failures.push((scenario.name, why.clone()));
                }
                Err(why.into())
            }
            Outcome::Unsupported { reason, .. } => skip(&reason),
        }
    })
}

fn skip(reason: &str) -> Result<Completion, Failed> {
    if env::var_os("CI").is_some_and(|value| value == "true") {
        return Err(format!("may not be skipped in CI: {reason}").into());
    }
    Ok(Completion::ignored_with(reason))
}
