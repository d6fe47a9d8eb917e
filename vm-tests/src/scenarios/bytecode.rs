//! The programs alone, executed by this kernel on fabricated sockets: layer 4 of docs/testing.md. On the host it is a
//! test of the package that has the programs, which also offers broken objects: an emulated machine takes minutes.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::harness::{Lab, Run, actor};

super::scenarios!["bytecode":
    cases_come_out_as_in_the_model [GUEST] within LIMIT,
    wrong_offset_starts_no_attempt [GUEST] within LIMIT,
];

/// Hundreds of programs are loaded one after the other, while other scenarios run.
const LIMIT: Duration = Duration::from_mins(3);
/// Somewhat less, so that what was said is still told.
const RUN_LIMIT: Duration = Duration::from_secs(170);

fn cases_come_out_as_in_the_model(_: &Lab) -> Result<()> {
    in_a_process_of_its_own("cases")
}

fn wrong_offset_starts_no_attempt(_: &Lab) -> Result<()> {
    in_a_process_of_its_own("offsets")
}

/// It counts what its process has loaded, and stays on one processor.
fn in_a_process_of_its_own(what: &str) -> Result<()> {
    let run = Run::within(RUN_LIMIT, actor::part(&["bytecode", what])?)?;
    ensure!(run.code == Some(0), "{}", run.stderr);
    Ok(())
}
