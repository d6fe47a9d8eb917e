//! Reports of a run. All are made from one [`Summary`], which is also the JSON report: so they can be made later.

mod document;
mod github;
mod junit;
mod markdown;
mod text;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::arch::Arch;
use super::machine;
use super::protocol::{AGAIN, Fact};
use super::qemu::Accelerator;
use super::verdict::Judgement;

pub use document::document;
pub use github::annotations;
pub use junit::junit;
pub use markdown::markdown;
pub use text::text;

/// One run: every machine of one architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Debian's name of the architecture.
    pub arch: String,
    /// `kvm` or `tcg`.
    pub accelerator: String,
    /// The machines, in the order of kernels.toml.
    pub machines: Vec<Machine>,
    /// Kernels that could not be had.
    pub absent: Vec<Absent>,
    /// The list that scenarios were taken from; none where all were to run.
    #[serde(default)]
    pub scenario_list: Option<PathBuf>,
}

/// A kernel that was to run and could not be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// Its series.
    pub series: String,
    /// Why it is not here.
    pub reason: String,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The kernel's series, or the image's name.
    pub series: String,
    /// The kernel's release, if it came so far as to say it.
    pub kernel: Option<String>,
    /// Seconds from the kernel's start to user space.
    pub boot_s: Option<f64>,
    /// Seconds from starting QEMU to the start of the first scenario.
    pub first_scenario_s: Option<f64>,
    /// Seconds from starting QEMU to its end.
    pub took_s: f64,
    /// Seconds of processor time that QEMU took.
    #[serde(default)]
    pub processor_s: Option<f64>,
    /// Whether nothing is wrong.
    pub good: bool,
    /// What is wrong beside the scenarios.
    pub troubles: Vec<String>,
    /// What the console showed.
    pub findings: Vec<Finding>,
    /// The console's file.
    pub console: String,
    /// The console's end, when something is wrong.
    pub console_tail: String,
    /// What was learnt of the kernel.
    pub facts: Vec<Fact>,
    /// Every planned scenario.
    pub scenarios: Vec<Case>,
}

/// Something recognised on the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is.
    pub kind: String,
    /// The lines around it.
    pub excerpt: String,
}

/// One scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Its name.
    pub scenario: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, when it did not pass.
    pub detail: String,
    /// After how many milliseconds.
    pub ms: u64,
}

/// How a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As expected.
    Passed,
    /// Not as expected.
    Failed,
    /// The kernel is too old for it.
    Unsupported,
    /// The guest died while it ran.
    Died,
    /// The guest ended before its turn.
    NeverRan,
}

/// How many scenarios ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Passed.
    pub passed: usize,
    /// Failed, died, never ran, or a trouble of a machine.
    pub failed: usize,
    /// Unsupported by a kernel that is too old.
    pub skipped: usize,
}

impl Summary {
    /// Of the reports of all machines.
    pub fn new(arch: &Arch, accelerator: Accelerator, reports: &[machine::Report]) -> Self {
        Self {
            arch: arch.debian.to_owned(),
            accelerator: accelerator.to_string(),
            machines: reports.iter().map(Machine::new).collect(),
            absent: Vec::new(),
            scenario_list: None,
        }
    }

    /// Adds up all machines.
    pub fn totals(&self) -> Totals {
        let add = |sum: Totals, machine: &Machine| {
            let totals = machine.totals();
            Totals {
                passed: sum.passed + totals.passed,
                failed: sum.failed + totals.failed,
                skipped: sum.skipped + totals.skipped,
            }
        };
        self.machines.iter().fold(Totals::default(), add)
    }
}

impl Machine {
    fn new(report: &machine::Report) -> Self {
        let verdict = &report.verdict;
        let case = |case: &super::verdict::Case| {
            let (outcome, detail) = match &case.judgement {
                Judgement::Passed => (Outcome::Passed, ""),
                Judgement::Failed(why) => (Outcome::Failed, why.as_str()),
                Judgement::Unsupported(why) => (Outcome::Unsupported, why.as_str()),
                Judgement::Died => (Outcome::Died, "the guest died while it ran"),
                Judgement::NeverRan => (Outcome::NeverRan, "the guest ended before its turn"),
            };
            Case { scenario: case.scenario.clone(), outcome, detail: detail.to_owned(), ms: case.ms }
        };
        let mut troubles = verdict.troubles.clone();
        let fatal = report.findings.iter().filter(|finding| finding.fatal);
        troubles.extend(fatal.map(|finding| format!("{} on the console", finding.kind)));
        let finding = |finding: &super::console::Finding| Finding {
            kind: finding.kind.to_owned(),
            excerpt: finding.excerpt.clone(),
        };
        Self {
            series: report.series.clone(),
            kernel: verdict.kernel.clone(),
            boot_s: verdict.boot_s,
            first_scenario_s: report.first_scenario.map(|first| first.as_secs_f64()),
            took_s: report.took.as_secs_f64(),
            processor_s: report.processor.map(|processor| processor.as_secs_f64()),
            good: report.is_good(),
            troubles,
            findings: report.findings.iter().map(finding).collect(),
            console: report.console.display().to_string(),
            console_tail: report.console_tail.clone(),
            facts: verdict.facts.clone(),
            scenarios: verdict.cases.iter().map(case).collect(),
        }
    }

    /// Adds up; each trouble counts as a failure.
    pub fn totals(&self) -> Totals {
        let count =
            |wanted: fn(Outcome) -> bool| self.scenarios.iter().filter(|case| wanted(case.outcome)).count();
        Totals {
            passed: count(|outcome| outcome == Outcome::Passed),
            failed: count(Outcome::is_bad) + self.troubles.len(),
            skipped: count(|outcome| outcome == Outcome::Unsupported),
        }
    }

    /// The scenarios that failed beside others and were run again alone, and why they had failed.
    fn tried_again(&self) -> impl Iterator<Item = (&str, &str)> {
        let again = self.facts.iter().filter(|fact| fact.topic == AGAIN);
        again.map(|fact| (fact.name.as_str(), fact.value.as_str()))
    }

    /// A fact's value.
    fn fact(&self, topic: &str, name: &str) -> Option<&str> {
        let fact = self.facts.iter().find(|fact| fact.topic == topic && fact.name == name);
        fact.map(|fact| fact.value.as_str())
    }
}

impl Outcome {
    /// Whether it makes the run a failure.
    pub fn is_bad(self) -> bool {
        !matches!(self, Self::Passed | Self::Unsupported)
    }

    /// In words.
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Unsupported => "unsupported",
            Self::Died => "died",
            Self::NeverRan => "never ran",
        }
    }
}

/// Seconds with one decimal, or a dash.
fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"))
}

#[cfg(test)]
mod tests;
