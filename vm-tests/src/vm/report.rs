//! Reports: a table for people, JUnit and JSON for machines.

use std::fmt::Write;

use serde_json::{Value, json};

use super::machine::Report;
use super::verdict::{Case, Judgement};

/// How many scenarios ended in which way, over all machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Passed.
    pub passed: usize,
    /// Failed, died, never ran, or a trouble of a machine.
    pub failed: usize,
    /// Unsupported by a kernel that is too old.
    pub skipped: usize,
}

impl Totals {
    /// Adds up.
    pub fn of(reports: &[Report]) -> Self {
        let mut totals = Self::default();
        for report in reports {
            for case in &report.verdict.cases {
                match case.judgement {
                    Judgement::Passed => totals.passed += 1,
                    Judgement::Unsupported(_) => totals.skipped += 1,
                    _ => totals.failed += 1,
                }
            }
            totals.failed += troubles(report).len();
        }
        totals
    }
}

/// What is wrong with a machine beside its scenarios.
fn troubles(report: &Report) -> Vec<String> {
    let mut troubles = report.verdict.troubles.clone();
    let fatal = report.findings.iter().filter(|finding| finding.fatal);
    troubles.extend(fatal.map(|finding| format!("{} on the console", finding.kind)));
    troubles
}

fn why(judgement: &Judgement) -> (&'static str, &str) {
    match judgement {
        Judgement::Passed => ("passed", ""),
        Judgement::Failed(why) => ("failed", why),
        Judgement::Unsupported(why) => ("unsupported", why),
        Judgement::Died => ("died", "the guest died while it ran"),
        Judgement::NeverRan => ("never ran", "the guest ended before its turn"),
    }
}

/// One line a kernel, then what went wrong.
pub fn table(reports: &[Report]) -> String {
    let mut text = format!(
        "{:<8} {:<32} {:>6} {:>6} {:>7} {:>7} {:>7}\n",
        "series", "kernel", "boot s", "run s", "passed", "failed", "skipped"
    );
    for report in reports {
        let totals = Totals::of(std::slice::from_ref(report));
        let _ = writeln!(
            text,
            "{:<8} {:<32} {:>6.1} {:>6.1} {:>7} {:>7} {:>7}",
            report.series,
            report.verdict.kernel.as_deref().unwrap_or("did not start"),
            report.verdict.boot_s.unwrap_or(f64::NAN),
            report.took.as_secs_f64(),
            totals.passed,
            totals.failed,
            totals.skipped,
        );
    }
    for report in reports {
        text.push_str(&complaints(report));
    }
    text
}

fn complaints(report: &Report) -> String {
    let mut text = String::new();
    let series = &report.series;
    for case in report.verdict.cases.iter().filter(|case| case.judgement != Judgement::Passed) {
        let (word, why) = why(&case.judgement);
        let _ = writeln!(text, "{series}: {} {word}: {why}", case.scenario);
    }
    for trouble in &report.verdict.troubles {
        let _ = writeln!(text, "{series}: {trouble}");
    }
    for finding in &report.findings {
        let _ = writeln!(text, "{series}: {} on the console:\n{}", finding.kind, indent(&finding.excerpt));
    }
    if !report.is_good() {
        let tail = indent(&report.console_tail);
        let _ = writeln!(text, "{series}: console log {}, its end:\n{tail}", report.console.display());
    }
    text
}

fn indent(text: &str) -> String {
    text.lines().map(|line| ["    ", line].concat()).collect::<Vec<_>>().join(
        "
",
    )
}

/// A JUnit file: one suite a kernel.
pub fn junit(reports: &[Report]) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for report in reports {
        let totals = Totals::of(std::slice::from_ref(report));
        let troubles = troubles(report);
        let _ = writeln!(
            text,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
            escape(&report.series),
            report.verdict.cases.len() + troubles.len(),
            totals.failed,
            totals.skipped,
            report.took.as_secs_f64(),
        );
        for case in &report.verdict.cases {
            text.push_str(&junit_case(&report.series, case));
        }
        for trouble in troubles {
            let judgement = Judgement::Failed(trouble);
            let case = Case { scenario: "machine".to_owned(), judgement, ms: 0 };
            text.push_str(&junit_case(&report.series, &case));
        }
        text.push_str("  </testsuite>\n");
    }
    text + "</testsuites>\n"
}

fn junit_case(series: &str, case: &Case) -> String {
    let (word, why) = why(&case.judgement);
    let body = match &case.judgement {
        Judgement::Passed => String::new(),
        Judgement::Unsupported(_) => format!("<skipped message=\"{}\"/>", escape(why)),
        _ => format!("<failure message=\"{word}\">{}</failure>", escape(why)),
    };
    let milliseconds = f64::from(u32::try_from(case.ms).unwrap_or(u32::MAX));
    format!(
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\">{body}</testcase>\n",
        escape(series),
        escape(&case.scenario),
        milliseconds / 1e3,
    )
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

/// The same as JSON.
pub fn json(reports: &[Report]) -> Value {
    let machine = |report: &Report| {
        let cases = report.verdict.cases.iter().map(|case| {
            let (outcome, detail) = why(&case.judgement);
            json!({"scenario": case.scenario, "outcome": outcome, "detail": detail, "ms": case.ms})
        });
        json!({
            "series": report.series,
            "kernel": report.verdict.kernel,
            "boot_s": report.verdict.boot_s,
            "took_s": report.took.as_secs_f64(),
            "good": report.is_good(),
            "troubles": troubles(report),
            "findings": report.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(),
            "scenarios": cases.collect::<Vec<_>>(),
        })
    };
    json!({"machines": reports.iter().map(machine).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::vm::console::Finding;
    use crate::vm::verdict::Verdict;

    fn report() -> Report {
        let case = |scenario: &str, judgement| Case { scenario: scenario.to_owned(), judgement, ms: 1500 };
        Report {
            series: "6.1".to_owned(),
            verdict: Verdict {
                cases: vec![
                    case("a", Judgement::Passed),
                    case("b", Judgement::Failed("1 < 2 & \u{1b}".to_owned())),
                    case("c", Judgement::Unsupported("too old".to_owned())),
                    case("d", Judgement::Died),
                ],
                troubles: vec!["half a line".to_owned()],
                kernel: Some("6.1.0".to_owned()),
                boot_s: Some(2.5),
            },
            findings: vec![Finding { kind: "kernel oops", fatal: true, excerpt: "Oops: 1".to_owned() }],
            console_tail: "the end".to_owned(),
            console: "x.console".into(),
            took: Duration::from_secs(9),
        }
    }

    #[test]
    fn totals_count_troubles_as_failures() {
        assert_eq!(Totals::of(&[report()]), Totals { passed: 1, failed: 4, skipped: 1 });
    }

    #[test]
    fn the_table_names_what_went_wrong() {
        let table = table(&[report()]);
        for part in ["6.1: b failed: 1 < 2", "6.1: d died", "half a line", "Oops: 1", "the end"] {
            assert!(table.contains(part), "{part} in {table}");
        }
        assert!(!table.contains("6.1: a "));
    }

    #[test]
    fn junit_is_escaped_and_counts_match() {
        let junit = junit(&[report()]);
        assert!(junit.contains("tests=\"6\" failures=\"4\" skipped=\"1\""), "{junit}");
        assert!(junit.contains("1 &lt; 2 &amp; \u{fffd}"));
        assert_eq!(junit.matches("<testcase").count(), 6);
        assert_eq!(junit.matches("<failure").count(), 4);
    }

    #[test]
    fn json_says_whether_a_machine_is_good() {
        let json = json(&[report()]);
        assert_eq!(json["machines"][0]["good"], false);
        assert_eq!(json["machines"][0]["scenarios"][3]["outcome"], "died");
    }
}
