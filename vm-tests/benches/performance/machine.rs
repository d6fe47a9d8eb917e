//! The same in emulated machines: on a kernel that has kprobes, for peers that need them, and with more processors than
//! there are here. Everything takes many times as long there, so that figures mean something beside each other only.

use std::{env, io, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use vm_tests::vm::{
    arch::Choice,
    errand::{self, Errand, Teller},
};

use crate::{
    Bench, PARTS,
    report::{Report, Row},
    subject::files_of_peers,
};

/// Debian's oldest kernel that has kprobes and everything that Synscope asks for.
const SERIES: &str = "6.1";
/// Names parts of the bench on the kernel's command line, with commas between them.
const WANTED: &str = "synscope.bench=";
const QUICK: &str = "synscope.quick";

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let arch = Choice::native().arch();
    if let Err(error) = Command::new(arch.qemu).arg("--version").output() {
        ensure!(error.kind() == io::ErrorKind::NotFound && env::var_os("CI").is_none(), error);
        eprintln!("left out, not installed: {}", arch.qemu_package);
        return Ok(());
    }
    // The server shall have a processor beside the storm's.
    send(bench, report, "throughput,programs", 2)?;
    let numbers: &[usize] = if bench.quick { &[2] } else { &[1, 2, 4, 8] };
    numbers.iter().try_for_each(|&number| send(bench, report, "processors", number))
}

/// Boots a machine with so many processors, and has it measure these parts.
fn send(bench: &Bench, report: &mut Report, parts: &str, processors: usize) -> Result<()> {
    let program = env::current_exe()?;
    let errand = Errand {
        name: "bench",
        series: SERIES,
        synscope: bench.lab.binary(),
        target_dir: program.ancestors().nth(3).context("not in a target directory")?,
        tools: &files_of_peers(),
        processors: Some(processors),
        words: &format!("{WANTED}{parts} {}", if bench.quick { QUICK } else { "" }),
    };
    let mut rows = Vec::new();
    let kernel = errand.run(|row: Row| rows.push(row))?;
    ensure!(!rows.is_empty(), "the machine measured nothing");
    for row in rows {
        report.tell_from(&format!("Linux {kernel}, emulated"), row);
    }
    Ok(())
}

/// Measures, when this program is a machine's `/init`.
pub(crate) fn take_over() -> bool {
    errand::take_over(inside)
}

fn inside(words: &str, teller: &mut Teller) -> Result<()> {
    let wanted = words.split_whitespace().find_map(|word| word.strip_prefix(WANTED));
    let bench = Bench::new(errand::SYNSCOPE.into(), words.contains(QUICK), true)?;
    for name in wanted.context("nobody says what to measure")?.split(',') {
        let Some((_, measure)) = PARTS.iter().find(|(part, _)| *part == name) else {
            bail!("there is no part {name}")
        };
        let mut report = Report::new(bench.quick);
        measure(&bench, &mut report)?;
        report.into_rows().iter().try_for_each(|row| teller.tell(row))?;
    }
    Ok(())
}
