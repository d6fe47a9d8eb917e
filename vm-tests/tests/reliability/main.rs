//! Promises that hold for a month, shown in minutes: `just reliability`; `just reliability long` takes its time.
//!
//! Needs root and BPF. Without them every test is ignored and says why; with `CI=true` that fails.

mod accounting;
mod crash;
mod cycles;
#[cfg(target_arch = "x86_64")]
mod detached;
mod disk;
mod holdings;
mod hostile;
mod hygiene;
mod idle;
mod memory;
mod readers;
mod refused;
mod soak;
mod threads;

use std::{env, process::ExitCode, sync::Arc};

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use vm_tests::{
    harness::{Api, Json, Lab, actor},
    runner,
};

/// How much of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// Within a CI run.
    Bounded,
    /// As the project promises it.
    Long,
}

impl Scale {
    fn of(self, bounded: u64, long: u64) -> u64 {
        if self == Self::Long { long } else { bounded }
    }
}

/// Stops a trace, and returns what came of it. That takes as long as its last events take to be described and its programs
/// to be taken off: on a starved machine longer than an answer is waited for, so it is asked again.
fn stop(api: &Api, path: &str) -> Result<Json> {
    loop {
        let reply = api.send("POST", &format!("{path}/stop"), &[], None)?;
        if reply.status != 503 {
            return reply.expect(200);
        }
        reply.problem(503)?.is("/type", "urn:synscope:timeout")?;
    }
}

type Test = (&'static str, fn(&Lab, Scale) -> Result<()>);

const TESTS: &[Test] = &[
    ("every attempt is accounted for while readers come and go", accounting::accounted_for),
    ("no attempt leaves an entry behind", hygiene::no_entry_is_left_behind),
    ("attempts that find no room are counted", hygiene::what_finds_no_room_is_counted),
    (
        "a killed server leaves nothing in the kernel, and what it told in history",
        crash::killed_at_any_moment,
    ),
    ("a killed server loses the last moment only", crash::only_the_last_moment_is_lost),
    #[cfg(target_arch = "x86_64")]
    ("somebody who detaches a program is noticed", detached::who_detaches_a_program_is_noticed),
    ("what a kernel refuses halfway is undone", refused::what_is_refused_halfway_is_undone),
    ("a trace goes on without descriptors to spare", refused::a_trace_goes_on_without_descriptors),
    ("a host without threads to spare is told of, and survived", threads::no_thread_is_an_answer),
    ("a host without memory to spare is told of, and survived", memory::no_memory_is_an_answer),
    ("hostile names are only text", hostile::hostile_names_are_only_text),
    ("hostile cgroups are only text", hostile::hostile_cgroups_are_only_text),
    ("a number that comes back is another process", hostile::a_number_that_comes_back_is_another_process),
    ("a namespace that vanishes takes nothing along", hostile::a_namespace_that_vanishes_takes_nothing_along),
    ("history keeps to its size in a storm", disk::history_keeps_to_its_size),
    ("starting and stopping for long loses nothing", cycles::nothing_grows),
    ("readers that stall cost the others nothing", readers::stalled_readers_are_their_own_problem),
    ("readers that stall slow nobody down", readers::stalled_readers_slow_nobody_down),
    ("readers that come back miss nothing that they are not told of", readers::every_hole_is_told),
    ("ten thousand idle connections cost nobody else", idle::idle_connections_are_refused_or_closed),
    ("hours of failures make nothing grow, and nobody misses one", soak::nothing_grows_or_is_missed),
];

fn main() -> ExitCode {
    actor::take_part();
    let mut arguments = Arguments::from_args();
    // Each is a load of its own.
    arguments.test_threads = Some(1);
    let scale =
        if env::var("RELIABILITY").is_ok_and(|scale| scale == "long") { Scale::Long } else { Scale::Bounded };
    let Some(binary) = Lab::find_binary() else {
        eprintln!("no server to test: `cargo build --release` builds it, SYNSCOPE_BIN names another");
        return ExitCode::FAILURE;
    };
    let lab = Arc::new(Lab::new(binary));
    let missing = runner::check_surroundings().err().map(|error| format!("{error:#}"));
    if let Some(missing) = &missing {
        eprintln!("RELIABILITY TESTS DO NOT RUN: {missing}");
    }
    let trial = |(name, test): &Test| {
        let (lab, missing, test) = (Arc::clone(&lab), missing.clone(), *test);
        Trial::ignorable_test(*name, move || run(&lab, scale, missing.as_deref(), test))
    };
    libtest_mimic::run(&arguments, TESTS.iter().map(trial).collect()).exit_code()
}

fn run(
    lab: &Lab,
    scale: Scale,
    missing: Option<&str>,
    test: fn(&Lab, Scale) -> Result<()>,
) -> Result<Completion, Failed> {
    match missing {
        None => test(lab, scale).map(|()| Completion::Completed).map_err(|error| format!("{error:#}").into()),
        Some(missing) if env::var_os("CI").is_some_and(|value| value == "true") => {
            Err(format!("may not be skipped in CI: {missing}").into())
        }
        Some(missing) => Ok(Completion::ignored_with(missing)),
    }
}
