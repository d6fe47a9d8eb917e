//! What a tool's output tells of an attempt, by the same rules for every tool.

use serde::{Deserialize, Serialize};

use super::failures::{Failure, Made};
use super::tools::Tool;

/// Something worth knowing of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fact {
    /// The process or thread that called connect().
    Who,
    /// The peer's port, and its own.
    Port,
    /// Every SYN that was sent again.
    Retries,
    /// That it failed, or was established in the end.
    End,
    /// What the application was told.
    Error,
    /// What was behind it.
    Why,
}

/// The facts that the lines about this attempt tell, all together.
pub(super) fn facts(output: &str, tool: &Tool, failure: &Failure, made: &Made) -> Vec<Fact> {
    let lines = lines_about(output, made);
    let any = |parts: &[&str]| lines.iter().any(|line| parts.iter().any(|part| line.contains(part)));
    let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count() as u64;
    let has = |word: &str| lines.iter().any(|line| words(line).any(|there| there == word));
    let end = if made.established { tool.established } else { tool.failed };
    let told = [
        (Fact::Who, has(&made.mark) || has(&made.pid.to_string())),
        (Fact::Port, made.local_port.is_some_and(|port| has(&port.to_string()))),
        (Fact::Retries, made.retransmits > 0 && count(tool.retransmit) >= made.retransmits),
        (Fact::End, any(&[end])),
        (Fact::Error, any(failure.error)),
        (Fact::Why, any(failure.why)),
    ];
    told.into_iter().filter_map(|(fact, is_told)| is_told.then_some(fact)).collect()
}

/// Lines with the peer's port, or with what marks the caller; what is indented, as stacks are, belongs to the line above.
fn lines_about(output: &str, made: &Made) -> Vec<String> {
    let mut paragraphs: Vec<String> = Vec::new();
    for line in output.lines() {
        let line_is_part =
            line.is_empty() || line.starts_with([' ', '\t']) && line.trim_start().contains('+');
        match paragraphs.last_mut().filter(|_| line_is_part) {
            Some(paragraph) => paragraph.push_str(line),
            None => paragraphs.push(line.to_owned()),
        }
    }
    let port = made.peer_port.to_string();
    let is_about = |line: &String| words(line).any(|word| word == port || word == made.mark);
    let one_blank = |line: String| line.split_whitespace().collect::<Vec<_>>().join(" ") + " ";
    paragraphs.into_iter().filter(is_about).map(one_blank).collect()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
}

#[cfg(test)]
mod tests {
    use super::super::failures::FAILURES;
    use super::super::tools::TOOLS;
    use super::*;

    fn told(tool: &str, failure: &str, output: &str, made: &Made) -> Vec<Fact> {
        let tool = TOOLS.iter().find(|it| it.name == tool).unwrap();
        let failure = FAILURES.iter().find(|it| it.name == failure).unwrap();
        facts(output, tool, failure, made)
    }

    fn made() -> Made {
        Made {
            peer_port: 7201,
            local_port: Some(41000),
            mark: "try-a".to_owned(),
            pid: 77,
            retransmits: 2,
            established: false,
        }
    }

    #[test]
    fn a_table_of_states_tells_ports_and_the_end() {
        let output = "SKADDR PID COMM LADDR LPORT RADDR RPORT OLDSTATE -> NEWSTATE MS\n\
                      ff1 77    try-a 10.99.0.1 0 203.0.113.7 7201 CLOSE    -> SYN_SENT 0.0\n\
                      ff1 0     swapper/1 10.99.0.1 41000 203.0.113.7 7201 SYN_SENT    -> CLOSE 3000.1\n";
        assert_eq!(told("tcpstates", "silent", output, &made()), [Fact::Who, Fact::Port, Fact::End]);
        // Another's lines, and another's process on ours, tell nothing.
        let others = output.replace("7201", "72010").replace("try-a", "other");
        assert_eq!(told("tcpstates", "silent", &others, &made()), []);
        let interrupted = output.replace("try-a", "other").replace("77 ", "78 ");
        assert_eq!(told("tcpstates", "silent", &interrupted, &made()), [Fact::Port, Fact::End]);
    }

    #[test]
    fn retransmits_are_told_when_all_are() {
        let line = "12:00:00 0 10.99.0.1:41000  203.0.113.7:7201  SYN_SENT\n";
        assert_eq!(told("tcpretrans.bt", "silent", line, &made()), [Fact::Port]);
        assert_eq!(told("tcpretrans.bt", "silent", &line.repeat(2), &made()), [Fact::Port, Fact::Retries]);
    }

    #[test]
    fn a_stack_belongs_to_the_line_above() {
        let made = Made { peer_port: 7210, mark: "try-i".to_owned(), ..made() };
        let output =
            "drop to port 7210\n        kfree_skb_reason+10\n        nf_hook_slow+20\n\ndrop to port 9\n";
        assert_eq!(told("attempts.bt", "dropped", output, &made), [Fact::Why]);
        assert_eq!(told("attempts.bt", "dropped", &output.replace("7210\n", "7211\n"), &made), []);
    }
}
