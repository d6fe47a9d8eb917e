//! JUnit's XML, which most CI systems read: one suite a kernel.

use std::fmt::Write;

use super::{Absent, Case, Machine, Outcome, Summary};

/// The whole file.
pub fn junit(summary: &Summary) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for machine in &summary.machines {
        suite(&mut text, &format!("{} {}", summary.arch, machine.series), machine);
    }
    for Absent { series, reason } in &summary.absent {
        let name = format!("{} {series}", summary.arch);
        let absent = Case {
            scenario: "machine".to_owned(),
            outcome: Outcome::Unsupported,
            detail: reason.clone(),
            ms: 0,
        };
        let _ = writeln!(text, "  <testsuite name=\"{}\" tests=\"1\" skipped=\"1\">", escape(&name));
        case(&mut text, &name, &absent);
        text.push_str("  </testsuite>\n");
    }
    text + "</testsuites>\n"
}

fn suite(text: &mut String, name: &str, machine: &Machine) {
    let totals = machine.totals();
    let trouble = |trouble: &String| Case {
        scenario: "machine".to_owned(),
        outcome: Outcome::Failed,
        detail: trouble.clone(),
        ms: 0,
    };
    let cases: Vec<Case> =
        machine.scenarios.iter().cloned().chain(machine.troubles.iter().map(trouble)).collect();
    let _ = writeln!(
        text,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
        escape(name),
        cases.len(),
        totals.failed,
        totals.skipped,
        machine.took_s,
    );
    for it in &cases {
        case(text, name, it);
    }
    text.push_str("  </testsuite>\n");
}

fn case(text: &mut String, suite: &str, case: &Case) {
    let body = match case.outcome {
        Outcome::Passed => String::new(),
        Outcome::Unsupported => format!("<skipped message=\"{}\"/>", escape(&case.detail)),
        bad => format!("<failure message=\"{}\">{}</failure>", bad.word(), escape(&case.detail)),
    };
    let milliseconds = f64::from(u32::try_from(case.ms).unwrap_or(u32::MAX));
    let _ = writeln!(
        text,
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\">{body}</testcase>",
        escape(suite),
        escape(&case.scenario),
        milliseconds / 1e3,
    );
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no way to write the other control characters.
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
