//! What the guest tells the host: one JSON object a line on the second serial port.
//!
//! ```text
//! {"type":"hello","protocol":1,"kernel":"6.1.0-56-cloud-amd64","uptime_s":2.7}
//! {"type":"plan","scenarios":["silent::ipv4_peer_until_the_kernel_times_out", …]}
//! {"type":"start","scenario":"silent::…"}
//! {"type":"result","scenario":"silent::…","outcome":"passed","detail":"","ms":3120}
//! {"type":"end"}
//! ```
//! Scenarios run side by side, so starts and results interleave. After `end` the machine powers off.

use serde::{Deserialize, Serialize};

use crate::runner::Outcome;

/// Raised when a record changes its meaning.
pub const PROTOCOL: u32 = 1;

/// The kernel command line's word for the port that results go to.
pub const RESULTS: &str = "synscope.results=";
/// The word for a machine that only says hello and powers off.
pub const PROBE: &str = "synscope.probe";
/// The word for the scenarios to run: parts of names, separated by commas.
pub const ONLY: &str = "synscope.only=";

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
    /// Nothing more comes.
    End,
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
    fn lines_are_as_documented() {
        let line = Record::result("a::b", Outcome::Passed, 7).line();
        let documented = r#"{"type":"result","scenario":"a::b","outcome":"passed","detail":"","ms":7}"#;
        assert_eq!(line.trim_end(), documented);
        assert_eq!(Record::End.line(), "{\"type\":\"end\"}\n");
    }
}
