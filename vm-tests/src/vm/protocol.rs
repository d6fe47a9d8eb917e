//! What the guest tells the host: one JSON object a line on the second serial port.
//!
//! ```text
//! {"type":"hello","protocol":2,"kernel":"6.1.0-56-cloud-amd64","uptime_s":2.7}
//! {"type":"plan","scenarios":["silent::ipv4_peer_until_the_kernel_times_out", …]}
//! {"type":"start","scenario":"silent::…"}
//! {"type":"result","scenario":"silent::…","outcome":"passed","detail":"","ms":3120}
//! {"type":"fact","topic":"feature","name":"probe tcp_send_reset","value":"ok"}
//! {"type":"end"}
//! ```
//! Scenarios run side by side, so starts and results interleave. After `end` the machine powers off. The documentation
//! (docs/vm-tests.md) says what the host makes of each record, and of what is missing.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::runner::Outcome;

/// Raised when a record changes its meaning.
pub const PROTOCOL: u32 = 2;

/// The kernel command line's word for the port that results go to.
pub const RESULTS: &str = "synscope.results=";
/// The word for a machine that only says hello and powers off.
pub const PROBE: &str = "synscope.probe";
/// The word for the scenarios to run: parts of names, separated by commas.
pub const ONLY: &str = "synscope.only=";

/// The word for a processor that is emulated: what failed beside others is tried again alone.
pub const EMULATED: &str = "synscope.emulated";

/// Topic of the fact that a scenario was: of its name, why it had failed.
pub const AGAIN: &str = "failed beside others";

/// The word for a failure on purpose: the name of an [`Injection`].
pub const INJECT: &str = "synscope.inject=";

/// How long a machine takes to reach user space when it has a core to itself, under emulation.
const USUAL_BOOT_S: f64 = 3.0;
const MOST_PATIENCE: f64 = 6.0;

/// By how much time limits are multiplied, on both sides: a machine that boots slowly, because others want the same
/// cores, does everything slowly.
pub fn patience(uptime_s: f64) -> f64 {
    (uptime_s / USUAL_BOOT_S).clamp(1.0, MOST_PATIENCE)
}

/// Longer details are cut: the serial port is slow, and a report is read by people.
const DETAIL_LIMIT: usize = 6 << 10;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Record {
    /// User space was reached.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The kernel's release.
        kernel: String,
        /// Seconds since the kernel started.
        uptime_s: f64,
    },
    /// Everything that is going to run.
    Plan {
        /// Names, in order.
        scenarios: Vec<String>,
    },
    /// One begins.
    Start {
        /// Its name.
        scenario: String,
    },
    /// One ended.
    Result {
        /// Its name.
        scenario: String,
        /// How.
        outcome: Ended,
        /// Why, when it did not pass.
        #[serde(default)]
        detail: String,
        /// After how many milliseconds.
        ms: u64,
    },
    /// Something about the kernel that reports show.
    Fact(Fact),
    /// Nothing more comes.
    End,
}

/// Something about a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What sort: `feature`, or a figure such as `verified instructions`.
    pub topic: String,
    /// Of what.
    pub name: String,
    /// How it is.
    pub value: String,
}

impl Fact {
    /// A fact.
    pub fn new(topic: &str, name: &str, value: impl Into<String>) -> Self {
        Self { topic: topic.to_owned(), name: name.to_owned(), value: value.into() }
    }
}

/// Failures that the guest can be asked for, to see what becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Injection {
    /// A scenario fails.
    Fail,
    /// One fails beside others, and not when it is tried again alone.
    Once,
    /// The kernel panics.
    Panic,
    /// The guest falls silent.
    Hang,
    /// The console is flooded.
    Flood,
    /// The machine dies in the middle of a line.
    HalfLine,
}

impl Injection {
    /// The injection of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::value_variants().iter().copied().find(|it| it.name() == name)
    }

    /// Its name, on the command lines of harness and kernel.
    pub fn name(self) -> &'static str {
        self.scenario().trim_start_matches("injected::")
    }

    /// The scenario that does it.
    pub fn scenario(self) -> &'static str {
        match self {
            Self::Fail => "injected::fail",
            Self::Once => "injected::once",
            Self::Panic => "injected::panic",
            Self::Hang => "injected::hang",
            Self::Flood => "injected::flood",
            Self::HalfLine => "injected::half-line",
        }
    }
}

/// How a scenario ended, as the guest judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// As expected.
    Passed,
    /// Not as expected.
    Failed,
    /// The kernel is older than what the scenario needs.
    Unsupported,
}

impl Record {
    /// The result of a scenario. A feature that a new enough kernel lacks is a failure.
    pub fn result(scenario: &str, outcome: Outcome, ms: u64) -> Self {
        let (outcome, mut detail) = match outcome {
            Outcome::Passed => (Ended::Passed, String::new()),
            Outcome::Failed(why) => (Ended::Failed, why),
            Outcome::Unsupported { reason, excused: true } => (Ended::Unsupported, reason),
            Outcome::Unsupported { reason, excused: false } => (Ended::Failed, reason),
        };
        if let Some((end, _)) = detail.char_indices().nth(DETAIL_LIMIT) {
            detail.truncate(end);
            detail.push('…');
        }
        Self::Result { scenario: scenario.to_owned(), outcome, detail, ms }
    }

    /// The record as a line, with its end.
    ///
    /// # Panics
    /// Never: records have string keys only.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("records have string keys only") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_lack_that_is_not_excused_is_a_failure() {
        let lack = |excused| Outcome::Unsupported { reason: "no mptcp".to_owned(), excused };
        let ended = |outcome| match Record::result("s", outcome, 1) {
            Record::Result { outcome, detail, .. } => (outcome, detail),
            other => panic!("{other:?}"),
        };
        assert_eq!(ended(lack(true)), (Ended::Unsupported, "no mptcp".to_owned()));
        assert_eq!(ended(lack(false)).0, Ended::Failed);
        assert!(ended(Outcome::Failed("ü".repeat(DETAIL_LIMIT + 1))).1.ends_with('…'));
    }

    #[test]
    fn patience_grows_with_the_time_to_boot_and_has_an_end() {
        let seconds = |uptime_s| Duration::from_secs(1).mul_f64(patience(uptime_s)).as_secs();
        assert_eq!([0.4, 3.0, 6.0, 600.0].map(seconds), [1, 1, 2, 6]);
    }

    #[test]
    fn lines_are_as_documented() {
        let line = Record::result("a::b", Outcome::Passed, 7).line();
        let documented = r#"{"type":"result","scenario":"a::b","outcome":"passed","detail":"","ms":7}"#;
        assert_eq!(line.trim_end(), documented);
        assert_eq!(Record::End.line(), "{\"type\":\"end\"}\n");
    }
}
