//! Workflow commands of GitHub Actions: they show failures beside the run.

use std::fmt::Write;

use super::Summary;

/// One error for each failed scenario and each trouble of a machine.
pub fn annotations(summary: &Summary) -> String {
    let mut text = String::new();
    for machine in &summary.machines {
        let mut error = |title: &str, message: &str| {
            let title = format!("{} on {} {}", title, summary.arch, machine.series);
            let _ = writeln!(text, "::error title={}::{}", property(&title), data(message));
        };
        for case in machine.scenarios.iter().filter(|case| case.outcome.is_bad()) {
            error(&case.scenario, &format!("{}: {}", case.outcome.word(), case.detail));
        }
        machine.troubles.iter().for_each(|trouble| error("machine", trouble));
    }
    text
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
