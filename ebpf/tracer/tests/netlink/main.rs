//! Questions to the real kernel, in network namespaces that the tests make.
//!
//! Needs root, and `ip` and `nft`. Without root every test is ignored and says why; with `CI=true` that fails.

mod conntrack;
mod lab;
mod namespaces;
mod sockets;

use std::{env, process::ExitCode};

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nix::unistd::geteuid;

type Test = (&'static str, fn() -> Result<()>);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let is_root = geteuid().is_root();
    if !is_root {
        eprintln!("NETLINK TESTS DO NOT RUN: they need root");
    }
    let tests = [sockets::TESTS, conntrack::TESTS, namespaces::TESTS].concat();
    let trials =
        tests.into_iter().map(|(name, test)| Trial::ignorable_test(name, move || run(is_root, test)));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn run(is_root: bool, test: fn() -> Result<()>) -> Result<Completion, Failed> {
    if is_root {
        return test().map(|()| Completion::Completed).map_err(|error| format!("{error:?}").into());
    }
    if env::var_os("CI").is_some_and(|value| value == "true") {
        return Err("may not be skipped in CI: needs root".into());
    }
    Ok(Completion::ignored_with("needs root"))
}
