//! What becomes of guests that misbehave: a shell script plays QEMU, and the verdict must be right.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::Result;

use super::{Report, run as run_machine};
use crate::vm::arch::{AMD64, Arch};
use crate::vm::protocol::Record;
use crate::vm::qemu::{Accelerator, Boot};
use crate::vm::verdict::Judgement;

const HELLO: &str = r#"echo '{"type":"hello","protocol":2,"kernel":"6.1.0","uptime_s":2.5}'"#;
const PLAN: &str = r#"echo '{"type":"plan","scenarios":["a","b"]}'"#;
const START_A: &str = r#"echo '{"type":"start","scenario":"a"}'"#;
const PASS_A: &str = r#"echo '{"type":"result","scenario":"a","outcome":"passed","ms":5}'"#;
const PASS_B: &str = r#"echo '{"type":"result","scenario":"b","outcome":"passed","ms":5}'"#;
const END: &str = r#"echo '{"type":"end"}'"#;

/// Runs a machine whose QEMU is this script; `$console` is the console's file.
fn run(script: &[&str], limit: Duration) -> Result<Report> {
    let directory = tempfile::tempdir()?;
    let console = directory.path().join("console");
    let qemu = directory.path().join("qemu");
    let script = format!("#!/bin/sh\nconsole={}\n{}\n", console.display(), script.join("\n"));
    fs::write(&qemu, script)?;
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755))?;
    let program: &'static str = qemu.to_string_lossy().into_owned().leak();
    let arch: &'static Arch = Box::leak(Box::new(Arch { qemu: program, ..AMD64 }));
    let boot = Boot { arch, kernel: &qemu, initramfs: &qemu, console: &console, processors: None, words: "" };
    let heard = RefCell::new(0);
    let report = run_machine("6.1", &boot, Accelerator::Tcg, limit, |_: &Record| {
        *heard.borrow_mut() += 1;
    })?;
    println!("{} records: {report:?}", heard.borrow());
    Ok(report)
}

/// Long enough for any machine, and shorter than the guests that hang would sleep.
fn quickly(script: &[&str]) -> Result<Report> {
    run(script, Duration::from_secs(45))
}

/// Whether only the clock ended it.
fn ran_out_of_time(report: &Report) -> bool {
    report.verdict.troubles.iter().any(|trouble| trouble.starts_with("out of time"))
}

fn judgements(report: &Report) -> Vec<&Judgement> {
    report.verdict.cases.iter().map(|case| &case.judgement).collect()
}

#[test]
fn a_guest_that_behaves_is_good() -> Result<()> {
    let report = quickly(&[HELLO, PLAN, START_A, PASS_A, PASS_B, END])?;
    assert!(report.is_good());
    Ok(())
}

#[test]
fn a_guest_that_dies_names_its_scenario() -> Result<()> {
    let report = quickly(&[HELLO, PLAN, START_A, "exit 1"])?;
    assert!(!report.is_good());
    assert_eq!(judgements(&report), [&Judgement::Died, &Judgement::NeverRan]);
    Ok(())
}

#[test]
fn a_guest_that_panics_shows_its_console() -> Result<()> {
    let panic = "echo '[ 3.1] Kernel panic - not syncing: Attempted to kill init!' >$console";
    let report = quickly(&[HELLO, PLAN, START_A, PASS_A, PASS_B, END, panic])?;
    assert!(report.verdict.is_good() && !report.is_good(), "the console alone condemns it");
    assert_eq!(report.findings[0].kind, "kernel panic");
    Ok(())
}

#[test]
fn a_guest_that_hangs_is_ended() -> Result<()> {
    let report = run(&[HELLO, PLAN, START_A, "exec sleep 60"], Duration::from_secs(1))?;
    assert_eq!(judgements(&report)[0], &Judgement::Died);
    assert!(report.verdict.troubles.iter().any(|trouble| trouble == "out of time during a"));
    Ok(())
}

#[test]
fn a_guest_that_floods_the_console_is_ended() -> Result<()> {
    let report = quickly(&[HELLO, PLAN, "yes | head -c 20000000 >$console", "exec sleep 60"])?;
    assert!(!ran_out_of_time(&report));
    assert!(report.verdict.troubles.iter().any(|trouble| trouble.contains("flooded")));
    Ok(())
}

#[test]
fn a_guest_that_floods_the_results_is_ended() -> Result<()> {
    let report = quickly(&[HELLO, PLAN, "exec yes 'not a record'"])?;
    assert!(!ran_out_of_time(&report));
    assert!(!report.is_good() && report.verdict.troubles.len() < 30);
    Ok(())
}

#[test]
fn half_a_line_is_no_result() -> Result<()> {
    let report = quickly(&[HELLO, PLAN, PASS_A, r#"printf '{"type":"result","scenario":"b"'"#])?;
    assert!(!report.is_good());
    assert_eq!(judgements(&report), [&Judgement::Passed, &Judgement::NeverRan]);
    Ok(())
}

#[test]
fn a_qemu_that_does_not_start_is_an_error_that_names_it() {
    let arch: &'static Arch = Box::leak(Box::new(Arch { qemu: "no-such-qemu", ..AMD64 }));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("console");
    let boot = Boot { arch, kernel: &path, initramfs: &path, console: &path, processors: None, words: "" };
    let limit = Duration::from_secs(1);
    let error = run_machine("6.1", &boot, Accelerator::Tcg, limit, |_| {}).unwrap_err();
    assert!(error.to_string().contains("no-such-qemu"));
}
