//! Layer 4: the same cases, executed by the running kernel. Needs root; without it the tests say so and pass,
//! unless `CI` is set: there a test that is not run has failed.

use std::{
    env, fs,
    io::Write as _,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bpf_lab::Object;
use bytecode_suite::{cases, live::Bench};
use nix::unistd::geteuid;
use synscope_ebpf::OBJECT;

/// A test's turn, if tests can run here: one after the other, since they count what the process has loaded.
fn turn() -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    if geteuid().is_root() {
        // A test that failed is no reason for the others to fail.
        return Some(TURN.lock().unwrap_or_else(PoisonError::into_inner));
    }
    assert!(env::var_os("CI").is_none(), "not root: the kernel executed nothing");
    // Past the test harness, which would swallow it.
    let _ = writeln!(std::io::stderr(), "SKIPPED, not root: the kernel executed nothing");
    None
}

#[test]
fn every_case_comes_out_in_the_kernel_as_it_does_in_the_model() {
    let Some(_turn) = turn() else { return };
    let mut bench = Bench::new().unwrap();
    let (mut played, mut unfit, mut wrong) = (0, 0, Vec::new());
    for case in cases::all() {
        if bench.unfit(&case).is_some() {
            unfit += 1;
            continue;
        }
        played += 1;
        if let Err(reason) = bench.judge(&case) {
            wrong.push(format!("{}: {reason}", case.name));
        }
    }
    println!("{}: {played} cases played, {unfit} need the model", bench.kernel());
    println!("instructions that the verifier walked through: {:?}", bench.verified);
    assert!(
        wrong.is_empty(),
        "{} of {played} cases:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n\n")
    );
    assert!(played > 80, "only {played} cases were fit to be played");
}

/// Programs and maps that this process has loaded.
fn loaded() -> usize {
    let files = fs::read_dir("/proc/self/fd").unwrap();
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().contains("bpf-")).count()
}

#[test]
fn broken_objects_are_refused_and_leave_nothing_behind() {
    let Some(_turn) = turn() else { return };
    let bench = Bench::new().unwrap();
    let before = loaded();
    bench.try_load(OBJECT, &[]).expect("the whole object is taken");
    assert_eq!(loaded(), before, "after the whole object was dropped");

    for part in 0..32 {
        let len = OBJECT.len() * part / 32;
        let error = bench.try_load(&OBJECT[..len], &[]).expect_err("a part was taken for the whole");
        assert!(!error.to_string().is_empty(), "no word about what is wrong with {len} bytes");
        assert_eq!(loaded(), before, "after {len} bytes were refused: {error}");
    }

    let text = program_text("retransmit");
    let mut refused = 0;
    for at in (0..text.len()).step_by(37) {
        let mut object = OBJECT.to_vec();
        object[text.start + at] ^= 1 << (at % 8);
        if let Err(error) = bench.try_load(&object, &[]) {
            assert!(!error.to_string().is_empty(), "no word about the flipped bit at {at}");
            refused += 1;
        }
        assert_eq!(loaded(), before, "after a flipped bit at {at}");
    }
    assert!(refused > 20, "only {refused} flipped bits were refused");
}

/// Where a program's instructions lie in the object.
fn program_text(name: &str) -> Range<usize> {
    let object = Object::parse(OBJECT).unwrap();
    let program = object.program(name).unwrap();
    let own = program.functions.get(1).map_or(program.insns.len(), |(slot, _)| *slot);
    let at = program.file_offset(0).unwrap();
    at..at + own * 8
}

#[test]
fn a_wrong_offset_starts_no_attempt() {
    let Some(_turn) = turn() else { return };
    let mut bench = Bench::new().unwrap();
    let case = cases::all().into_iter().find(|case| case.name == "a quick connect is counted and not told");
    let case = case.expect("the case is there");
    assert_eq!(
        bench.connect_with(&case, "OFF_NET", 0).unwrap().started,
        1,
        "what is not read does not matter"
    );
    for wrong in [0, 1, 4000, i32::MAX.cast_unsigned()] {
        let counters = bench.connect_with(&case, "OFF_PROTOCOL", wrong).unwrap();
        assert_eq!(counters.started, 0, "the protocol was read at {wrong}: {counters:?}");
    }
}
