//! For people at a terminal: one line a kernel, then what went wrong.

use std::fmt::Write;

use super::{Absent, Machine, Outcome, Summary, seconds};
use crate::vm::protocol::AGAIN;

/// The whole report.
pub fn text(summary: &Summary) -> String {
    let mut text = format!(
        "{:<8} {:<34} {:>6} {:>7} {:>6} {:>6} {:>7} {:>7} {:>7}\n",
        "series", "kernel", "boot s", "first s", "run s", "cpu s", "passed", "failed", "skipped"
    );
    for machine in &summary.machines {
        let totals = machine.totals();
        let _ = writeln!(
            text,
            "{:<8} {:<34} {:>6} {:>7} {:>6.1} {:>6} {:>7} {:>7} {:>7}",
            machine.series,
            machine.kernel.as_deref().unwrap_or("did not start"),
            seconds(machine.boot_s),
            seconds(machine.first_scenario_s),
            machine.took_s,
            seconds(machine.processor_s),
            totals.passed,
            totals.failed,
            totals.skipped,
        );
    }
    for Absent { series, reason } in &summary.absent {
        let _ = writeln!(text, "{series:<8} did not run: {reason}");
    }
    summary.machines.iter().for_each(|machine| text.push_str(&complaints(machine)));
    text
}

fn complaints(machine: &Machine) -> String {
    let mut text = String::new();
    let series = &machine.series;
    for case in machine.scenarios.iter().filter(|case| case.outcome != Outcome::Passed) {
        let _ = writeln!(text, "{series}: {} {}: {}", case.scenario, case.outcome.word(), case.detail);
    }
    for (scenario, why) in machine.tried_again() {
        let _ = writeln!(text, "{series}: {scenario} {AGAIN}, and was run again alone: {why}");
    }
    for trouble in &machine.troubles {
        let _ = writeln!(text, "{series}: {trouble}");
    }
    for finding in &machine.findings {
        let _ = writeln!(text, "{series}: {} on the console:\n{}", finding.kind, indent(&finding.excerpt));
    }
    if !machine.good {
        let tail = indent(&machine.console_tail);
        let _ = writeln!(text, "{series}: console log {}, its end:\n{tail}", machine.console);
    }
    text
}

fn indent(text: &str) -> String {
    text.lines().map(|line| ["    ", line].concat()).collect::<Vec<_>>().join("\n")
}
