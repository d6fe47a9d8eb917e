//! Layer 4: the same cases, executed by the running kernel.
//!
//! Needs root. Without it every test is ignored and says why; with `CI=true` that fails.

use std::{env, process::ExitCode};

use bytecode_suite::{
    in_kernel,
    live::{Bench, Wrong},
};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nix::unistd::geteuid;

type Test = fn(&mut Bench) -> Result<(), Wrong>;

const TESTS: &[(&str, Test)] = &[
    ("every case comes out in the kernel as it does in the model", |bench| {
        println!("{}", in_kernel::every_case(bench)?);
        Ok(())
    }),
    ("broken objects are refused and leave nothing behind", |bench| in_kernel::broken_objects(bench)),
    ("a wrong offset starts no attempt", in_kernel::wrong_offsets),
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

fn run(is_root: bool, test: Test) -> Result<Completion, Failed> {
    if is_root {
        let tested = Bench::new().and_then(|mut bench| test(&mut bench));
        return tested.map(|()| Completion::Completed).map_err(|wrong| wrong.to_string().into());
    }
    if env::var_os("CI").is_some_and(|value| value == "true") {
        return Err("may not be skipped in CI: needs root".into());
    }
    Ok(Completion::ignored_with("needs root"))
}
