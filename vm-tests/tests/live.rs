//! The scenarios against the real binary on this machine's kernel, each as a test of its own.
//!
//! Needs root and BPF. Without them every test is ignored and says why; with `CI=true` that fails.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use vm_tests::harness::{Lab, actor};
use vm_tests::runner::{self, Outcome};
use vm_tests::scenarios::{self, Scenario};

fn main() -> ExitCode {
    actor::take_part();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(runner::WORKERS);
    let binary = binary();
    if binary.is_none() && !arguments.list {
        eprintln!("no server to test: `cargo build --release` builds it, SYNSCOPE_BIN names another");
        return ExitCode::FAILURE;
    }
    let lab = Arc::new(Lab::new(binary.unwrap_or_default()));
    let missing = runner::check_surroundings().err().map(|error| format!("{error:#}"));
    if let Some(missing) = &missing {
        eprintln!("LIVE TESTS DO NOT RUN: {missing}");
    }
    let trials = scenarios::all()
        .into_iter()
        .map(|scenario| trial(Arc::clone(&lab), scenario, missing.clone()))
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(log) = lab.close().filter(|_| conclusion.has_failed()) {
        eprintln!("--- log of the shared server ---\n{log}");
    }
    conclusion.exit_code()
}

fn trial(lab: Arc<Lab>, scenario: Scenario, missing: Option<String>) -> Trial {
    Trial::ignorable_test(scenario.name, move || {
        if let Some(missing) = missing {
            return skip(&missing);
        }
        match runner::run_one(&lab, scenario) {
            Outcome::Passed => Ok(Completion::Completed),
            Outcome::Failed(why) => Err(why.into()),
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

/// `SYNSCOPE_BIN`, or the newest build in the target directory that this test stands in.
fn binary() -> Option<PathBuf> {
    if let Some(binary) = env::var_os("SYNSCOPE_BIN") {
        return Some(binary.into());
    }
    let program = env::current_exe().expect("a running program has a path");
    let target = program.ancestors().nth(3).expect("tests stand in target/PROFILE/deps");
    let modified = |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let built = ["release", "debug"].map(|profile| target.join(profile).join("synscope"));
    built.into_iter().filter(|path| path.exists()).max_by_key(modified)
}
