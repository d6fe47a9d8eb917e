//! From the guest's lines to a verdict. Only a complete plan counts.

use std::collections::BTreeMap;

use super::protocol::{Ended, Fact, PROTOCOL, Record};

/// A guest that misbehaves in more ways is not listened to any longer.
const TROUBLES_LIMIT: usize = 20;

/// How one planned scenario ended, as the host judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Reported once, as passed.
    Passed,
    /// Reported once, as failed.
    Failed(String),
    /// Reported once, with a kernel too old for it.
    Unsupported(String),
    /// It had begun when the guest fell silent.
    Died,
    /// Its turn never came.
    NeverRan,
}

/// One line of the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The scenario.
    pub scenario: String,
    /// How it ended.
    pub judgement: Judgement,
    /// How long it took, when it ended.
    pub ms: u64,
}

/// The whole of one machine's run.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Every planned scenario, in the order of the plan.
    pub cases: Vec<Case>,
    /// What is wrong beside the scenarios: each makes the run a failure.
    pub troubles: Vec<String>,
    /// The kernel's release, as the guest said.
    pub kernel: Option<String>,
    /// Seconds from the kernel's start to user space.
    pub boot_s: Option<f64>,
    /// What was learnt of the kernel.
    pub facts: Vec<Fact>,
}

/// The lines so far.
#[derive(Debug, Default)]
pub struct Transcript {
    verdict: Verdict,
    position: BTreeMap<String, usize>,
    running: Vec<String>,
    ended: bool,
}

impl Judgement {
    /// Whether it makes the run a failure.
    pub fn is_bad(&self) -> bool {
        !matches!(self, Self::Passed | Self::Unsupported(_))
    }
}

impl Verdict {
    /// Whether every planned scenario passed, or could not, and nothing else was wrong.
    pub fn is_good(&self) -> bool {
        self.troubles.is_empty() && !self.cases.iter().any(|case| case.judgement.is_bad())
    }
}

impl Transcript {
    /// Takes one line, and returns what it said when it was a record.
    pub fn feed(&mut self, line: &str) -> Option<Record> {
        let line = line.trim();
        if line.is_empty() {
            return None;
        }
        let Ok(record) = serde_json::from_str::<Record>(line) else {
            let start: String = line.chars().take(200).collect();
            self.trouble(format!("not a record: {start}"));
            return None;
        };
        if self.ended {
            self.trouble(format!("a record after the end: {line}"));
        }
        self.take(&record);
        Some(record)
    }

    /// Scenarios that have begun and not ended.
    pub fn running(&self) -> &[String] {
        &self.running
    }

    /// Seconds from the kernel's start to user space, once that was reached.
    pub fn uptime_s(&self) -> Option<f64> {
        self.verdict.boot_s
    }

    /// Whether so much was wrong that listening on is pointless.
    pub fn is_hopeless(&self) -> bool {
        self.verdict.troubles.len() >= TROUBLES_LIMIT
    }

    /// Notes something wrong that was seen from outside.
    pub fn trouble(&mut self, what: String) {
        self.verdict.troubles.push(what);
    }

    /// The verdict, once no more lines come.
    pub fn finish(mut self) -> Verdict {
        if self.position.is_empty() {
            self.trouble("no plan was made: nothing was tested".to_owned());
        } else if !self.ended {
            self.trouble("the guest did not come to its end".to_owned());
        }
        for scenario in &self.running {
            if let Some(index) = self.position.get(scenario) {
                self.verdict.cases[*index].judgement = Judgement::Died;
            }
        }
        self.verdict
    }

    fn take(&mut self, record: &Record) {
        match record {
            Record::Hello { protocol, kernel, uptime_s } => {
                if *protocol != PROTOCOL {
                    self.trouble(format!("the guest speaks protocol {protocol}, not {PROTOCOL}"));
                }
                self.verdict.kernel = Some(kernel.clone());
                self.verdict.boot_s = Some(*uptime_s);
            }
            Record::Plan { scenarios } => self.plan(scenarios),
            Record::Start { scenario } => {
                if self.running.contains(scenario) {
                    self.trouble(format!("{scenario} began twice"));
                }
                self.running.push(scenario.clone());
            }
            Record::Result { scenario, outcome, detail, ms } => {
                self.result(scenario, *outcome, detail, *ms);
            }
            Record::Fact(fact) => self.verdict.facts.push(fact.clone()),
            Record::End => self.ended = true,
        }
    }

    fn plan(&mut self, scenarios: &[String]) {
        if !self.position.is_empty() {
            self.trouble("a second plan".to_owned());
            return;
        }
        for scenario in scenarios {
            let index = self.verdict.cases.len();
            if self.position.insert(scenario.clone(), index).is_some() {
                self.trouble(format!("{scenario} is planned twice"));
            }
            let scenario = scenario.clone();
            self.verdict.cases.push(Case { scenario, judgement: Judgement::NeverRan, ms: 0 });
        }
    }

    fn result(&mut self, scenario: &str, outcome: Ended, detail: &str, ms: u64) {
        self.running.retain(|running| running != scenario);
        let Some(index) = self.position.get(scenario).copied() else {
            self.trouble(format!("{scenario} was not planned"));
            return;
        };
        if self.verdict.cases[index].judgement != Judgement::NeverRan {
            self.trouble(format!("{scenario} was reported twice"));
            return;
        }
        let case = &mut self.verdict.cases[index];
        case.ms = ms;
        case.judgement = match outcome {
            Ended::Passed => Judgement::Passed,
            Ended::Failed => Judgement::Failed(detail.to_owned()),
            Ended::Unsupported => Judgement::Unsupported(detail.to_owned()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = r#"{"type":"hello","protocol":2,"kernel":"6.1.0","uptime_s":2.5}"#;
    const PLAN: &str = r#"{"type":"plan","scenarios":["a","b"]}"#;
    const END: &str = r#"{"type":"end"}"#;

    fn start(name: &str) -> String {
        format!(r#"{{"type":"start","scenario":"{name}"}}"#)
    }

    fn passed(name: &str) -> String {
        format!(r#"{{"type":"result","scenario":"{name}","outcome":"passed","ms":5}}"#)
    }

    fn judge(lines: &[&str]) -> Verdict {
        let mut transcript = Transcript::default();
        for line in lines {
            transcript.feed(line);
        }
        transcript.finish()
    }

    fn judgements(verdict: &Verdict) -> Vec<&Judgement> {
        verdict.cases.iter().map(|case| &case.judgement).collect()
    }

    #[test]
    fn a_complete_plan_is_good() {
        let (a, b) = (passed("a"), passed("b"));
        // Side by side, and with the serial port's carriage returns.
        let verdict = judge(&[HELLO, PLAN, &start("a"), &start("b"), &b, &(a + "\r"), END]);
        assert!(verdict.is_good(), "{verdict:?}");
        assert_eq!(verdict.kernel.as_deref(), Some("6.1.0"));
    }

    #[test]
    fn a_failure_is_bad_and_keeps_its_reason() {
        let failed = r#"{"type":"result","scenario":"b","outcome":"failed","detail":"why","ms":5}"#;
        let verdict = judge(&[HELLO, PLAN, &passed("a"), failed, END]);
        assert!(!verdict.is_good() && verdict.troubles.is_empty());
        assert_eq!(judgements(&verdict)[1], &Judgement::Failed("why".to_owned()));
    }

    #[test]
    fn unsupported_is_good() {
        let old = r#"{"type":"result","scenario":"b","outcome":"unsupported","detail":"x","ms":0}"#;
        assert!(judge(&[HELLO, PLAN, &passed("a"), old, END]).is_good());
    }

    #[test]
    fn a_guest_that_dies_names_the_scenario() {
        let verdict = judge(&[HELLO, PLAN, &start("a")]);
        assert_eq!(judgements(&verdict), [&Judgement::Died, &Judgement::NeverRan]);
        assert!(!verdict.is_good());
    }

    #[test]
    fn a_guest_that_never_speaks_is_bad() {
        assert!(!judge(&[]).is_good());
        assert!(!judge(&[HELLO, END]).is_good());
        assert!(!judge(&[HELLO, r#"{"type":"plan","scenarios":[]}"#, END]).is_good());
    }

    #[test]
    fn a_plan_that_is_not_finished_is_bad() {
        let verdict = judge(&[HELLO, PLAN, &passed("a"), END]);
        assert_eq!(judgements(&verdict)[1], &Judgement::NeverRan);
        assert!(!verdict.is_good());
    }

    #[test]
    fn results_without_an_end_are_bad() {
        let verdict = judge(&[HELLO, PLAN, &passed("a"), &passed("b")]);
        assert!(!verdict.is_good());
    }

    #[test]
    fn half_a_line_is_bad() {
        let half = &passed("b")[..30];
        let verdict = judge(&[HELLO, PLAN, &passed("a"), &start("b"), half]);
        assert_eq!(judgements(&verdict)[1], &Judgement::Died);
        assert!(verdict.troubles.iter().any(|trouble| trouble.contains("not a record")));
    }

    #[test]
    fn whatever_is_reported_twice_or_unasked_is_bad() {
        let (a, b, c) = (passed("a"), passed("b"), passed("c"));
        for extra in [&a, &c, PLAN] {
            let verdict = judge(&[HELLO, PLAN, &a, &b, extra, END]);
            assert_eq!(verdict.troubles.len(), 1, "{verdict:?}");
        }
        assert_eq!(judge(&[HELLO, PLAN, &a, &b, END, &a]).troubles.len(), 2);
        let twice = judge(&[HELLO, PLAN, &start("a"), &start("a"), &a, &b, END]);
        assert!(!twice.is_good());
    }

    #[test]
    fn another_protocol_is_bad() {
        let hello = HELLO.replace("\"protocol\":2", "\"protocol\":3");
        let verdict = judge(&[&hello, PLAN, &passed("a"), &passed("b"), END]);
        assert_eq!(verdict.troubles.len(), 1);
    }
}
