//! Markdown, for a job's summary.

use std::fmt::Write;

use super::{Absent, Machine, Outcome, Summary, seconds};
use crate::vm::protocol::AGAIN;

/// The whole report.
pub fn markdown(summary: &Summary) -> String {
    let totals = summary.totals();
    let mut text = format!(
        "## Kernels on {} ({}): {} passed, {} failed, {} skipped\n\n",
        summary.arch, summary.accelerator, totals.passed, totals.failed, totals.skipped
    );
    text += &kernels(summary);
    text += &again(summary);
    for machine in summary.machines.iter().filter(|machine| !machine.good) {
        text += &failures(machine);
    }
    text
}

/// A line a kernel.
fn kernels(summary: &Summary) -> String {
    let header = [
        "series",
        "kernel",
        "boot s",
        "first scenario s",
        "all s",
        "cpu s",
        "passed",
        "failed",
        "skipped",
        "",
    ];
    let rows = summary.machines.iter().map(|machine| {
        let totals = machine.totals();
        vec![
            machine.series.clone(),
            machine.kernel.clone().unwrap_or_else(|| "did not start".to_owned()),
            seconds(machine.boot_s),
            seconds(machine.first_scenario_s),
            format!("{:.1}", machine.took_s),
            seconds(machine.processor_s),
            totals.passed.to_string(),
            totals.failed.to_string(),
            totals.skipped.to_string(),
            if machine.good { "good" } else { "**BAD**" }.to_owned(),
        ]
    });
    let mut text = table(&header, rows);
    for Absent { series, reason } in &summary.absent {
        let _ = write!(text, "\n{series} did not run: {reason}.\n");
    }
    text
}

/// A list of what failed beside others on one emulated processor, and was run again alone.
pub(super) fn again(summary: &Summary) -> String {
    let mut text = String::new();
    for machine in &summary.machines {
        for (scenario, why) in machine.tried_again() {
            let series = &machine.series;
            let _ = writeln!(text, "- `{scenario}` {AGAIN} on {series}, and was run again alone: {why}");
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

fn failures(machine: &Machine) -> String {
    let mut text = format!("\n### {}\n\n", machine.series);
    for case in machine.scenarios.iter().filter(|case| case.outcome.is_bad()) {
        let word = if case.outcome == Outcome::Failed { "" } else { case.outcome.word() };
        let _ = writeln!(text, "- `{}` {word}\n{}", case.scenario, block(&case.detail));
    }
    for trouble in &machine.troubles {
        let _ = writeln!(text, "- {trouble}");
    }
    for finding in &machine.findings {
        let _ = writeln!(text, "- {} on the console\n{}", finding.kind, block(&finding.excerpt));
    }
    let _ = writeln!(text, "- the console's end\n{}", block(&machine.console_tail));
    text
}

/// A code block within a list.
fn block(text: &str) -> String {
    let mut block = "\n".to_owned();
    for line in text.lines() {
        let _ = writeln!(block, "      {line}");
    }
    block
}

/// A table; bars in cells are escaped.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", header.join(" | "), "---|".repeat(header.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}
