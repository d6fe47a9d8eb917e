//! Layer 4: the same cases, executed by the running kernel.
//!
//! Needs root. Without it every test is ignored and says why; with `CI=true` that fails.

use std::{collections::BTreeMap, env, fs, ops::Range, process::ExitCode};

use bpf_lab::Object;
use bytecode_suite::{cases, live::Bench};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nix::unistd::geteuid;
use synscope_ebpf::OBJECT;

const TESTS: &[(&str, fn())] = &[
    (
        "every case comes out in the kernel as it does in the model",
        every_case_comes_out_in_the_kernel_as_it_does_in_the_model,
    ),
    (
        "broken objects are refused and leave nothing behind",
        broken_objects_are_refused_and_leave_nothing_behind,
    ),
    ("a wrong offset starts no attempt", a_wrong_offset_starts_no_attempt),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One after the other: they count what the process has loaded.
    arguments.test_threads = Some(1);
    let is_root = geteuid().is_root();
    if !is_root {
        eprintln!("THE KERNEL EXECUTES NOTHING: that needs root");
    }
    let trials = TESTS.iter().map(|(name, test)| Trial::ignorable_test(*name, move || run(is_root, *test)));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn run(is_root: bool, test: fn()) -> Result<Completion, Failed> {
    if is_root {
        test();
        return Ok(Completion::Completed);
    }
    if env::var_os("CI").is_some_and(|value| value == "true") {
        return Err("may not be skipped in CI: needs root".into());
    }
    Ok(Completion::ignored_with("needs root"))
}

fn every_case_comes_out_in_the_kernel_as_it_does_in_the_model() {
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
    assert!(
        wrong.is_empty(),
        "{} of {played} cases:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n\n")
    );
    assert!(played > 80, "only {played} cases were fit to be played");
    check_effort(&bench.verified);
}

/// What the verifier had to walk through, against `ceilings.toml`. Kernels before 5.16 do not tell.
fn check_effort(verified: &BTreeMap<&'static str, u32>) {
    println!("instructions that the verifier walked through: {verified:?}");
    let ceilings: toml::Table = include_str!("ceilings.toml").parse().unwrap();
    for (program, walked) in verified {
        let most = ceilings["programs"][program]["verified"].as_integer().unwrap();
        assert!(i64::from(*walked) <= most, "{program}: the verifier walked through {walked}, beyond {most}");
    }
}

/// Programs and maps that this process has loaded.
fn loaded() -> usize {
    let files = fs::read_dir("/proc/self/fd").unwrap();
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().contains("bpf-")).count()
}

fn broken_objects_are_refused_and_leave_nothing_behind() {
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

fn a_wrong_offset_starts_no_attempt() {
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
