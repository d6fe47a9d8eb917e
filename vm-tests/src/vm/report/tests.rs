use std::time::Duration;

use super::*;
use crate::vm::arch::AMD64;
use crate::vm::console;
use crate::vm::kernels::{self, Kernel};
use crate::vm::verdict::{self, Verdict};

/// A machine on which everything went wrong that can.
fn summary() -> Summary {
    let case =
        |scenario: &str, judgement| verdict::Case { scenario: scenario.to_owned(), judgement, ms: 1500 };
    let report = machine::Report {
        series: "6.1".to_owned(),
        verdict: Verdict {
            cases: vec![
                case("a::a", Judgement::Passed),
                case("a::b", Judgement::Failed("1 < 2 & \u{1b}\nand a second line | with a bar".to_owned())),
                case("c::c", Judgement::Unsupported("too old".to_owned())),
                case("c::d", Judgement::Died),
            ],
            troubles: vec!["half a line".to_owned()],
            kernel: Some("6.1.0".to_owned()),
            boot_s: Some(2.5),
            facts: vec![
                Fact::new("feature", "probe tcp_send_reset", "ok"),
                Fact::new("verified instructions", "set_state", "1234"),
                Fact::new(AGAIN, "c::e", "too late"),
            ],
        },
        findings: vec![console::Finding { kind: "kernel oops", fatal: true, excerpt: "Oops: 1".to_owned() }],
        console_tail: "the end".to_owned(),
        console: "x.console".into(),
        first_scenario: Some(Duration::from_millis(3500)),
        took: Duration::from_secs(9),
        processor: Some(Duration::from_millis(7200)),
    };
    let absent = Absent { series: "5.10".to_owned(), reason: "the mirror has lost it".to_owned() };
    Summary { absent: vec![absent], ..Summary::new(&AMD64, Accelerator::Tcg, &[report]) }
}

#[test]
fn totals_count_troubles_as_failures() {
    assert_eq!(summary().totals(), Totals { passed: 1, failed: 4, skipped: 1 });
}

#[test]
fn the_text_names_what_went_wrong() {
    let text = text(&summary());
    for part in [
        "6.1: a::b failed: 1 < 2",
        "6.1: c::d died",
        "half a line",
        "Oops: 1",
        "the end",
        "3.5",
        "7.2",
        "lost",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("6.1: a::a "));
}

#[test]
fn junit_is_escaped_and_counts_match() {
    let junit = junit(&summary());
    assert!(junit.contains("tests=\"6\" failures=\"4\" skipped=\"1\""), "{junit}");
    assert!(junit.contains("1 &lt; 2 &amp; \u{fffd}"));
    assert_eq!(junit.matches("<testcase").count(), 7);
    assert_eq!(junit.matches("<skipped").count(), 2);
    assert_eq!(junit.matches("<failure").count(), 4);
}

#[test]
fn json_is_read_back_as_it_was() {
    let json = serde_json::to_string(&summary()).unwrap();
    assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary());
}

#[test]
fn annotations_stay_on_one_line_each() {
    let annotations = annotations(&summary());
    assert_eq!(annotations.lines().count(), 4, "{annotations}");
    assert!(annotations.lines().all(|line| line.starts_with("::error title=")));
    assert!(annotations.contains("1 < 2 & \u{1b}%0Aand a second line"));
}

#[test]
fn markdown_keeps_its_tables_whole() {
    for text in [markdown(&summary()), document(&[summary()])] {
        for table in text.split("\n\n").filter(|part| part.starts_with('|')) {
            let widths: Vec<usize> =
                table.lines().map(|line| line.replace("\\|", "").matches('|').count()).collect();
            assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{table}");
        }
    }
}

#[test]
fn the_document_has_features_subjects_and_figures() {
    let document = document(&[summary()]);
    for part in [
        "| probe tcp_send_reset | ok |",
        "| a | 1 of 2 |",
        "| set_state | 12,000 | 1,234 |",
        "too old",
        "5.10 did not run",
    ] {
        assert!(document.contains(part), "{part} in {document}");
    }
}

#[test]
fn whoever_passed_only_alone_is_named() {
    for text in [text(&summary()), markdown(&summary()), document(&[summary()])] {
        assert!(text.contains("c::e"), "{text}");
        assert!(text.contains("run again alone: too late"), "{text}");
    }
}

/// The committed one, which only a run of all kernels renews.
#[test]
fn the_committed_document_has_every_kernel() {
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kernels.md");
    let document = std::fs::read_to_string(committed).unwrap();
    for Kernel { series, .. } in kernels::known().unwrap() {
        assert!(document.contains(&format!("\n| {series} | {series}.")), "{series}");
    }
}
