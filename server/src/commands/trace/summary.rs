//! What is printed when a trace ends: causes, peers, how long connecting took, and what was not seen.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use serde_json::Value;

use super::columns::endpoint;

/// Peers that are counted by themselves. Failures of further ones are counted together.
const MAX_PEERS: usize = 4096;
/// Peers that are shown.
const TOP: usize = 10;
/// Width of the longest bar.
const BAR: u64 = 40;

/// Failures, as they were shown.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) shown: u64,
    pub(super) hidden: u64,
    /// Events that a server did not send, because this reader was slow.
    pub(super) gap: u64,
    causes: BTreeMap<String, u64>,
    peers: HashMap<String, u64>,
    other_peers: u64,
    /// A trace's `counters`, as the API has them; a file has none.
    pub(super) counters: Option<Value>,
}

impl Summary {
    /// Counts a failed attempt. Returns its cause.
    pub(super) fn count<'a>(&mut self, event: &'a Value) -> Option<&'a str> {
        if event.get("event")? != "connect.failed" {
            return None;
        }
        let cause = event.pointer("/tcp/connect/cause")?.as_str()?;
        *self.causes.entry(cause.to_owned()).or_default() += 1;
        let peer = endpoint(event, "/network/peer");
        if self.peers.len() < MAX_PEERS || self.peers.contains_key(&peer) {
            *self.peers.entry(peer).or_default() += 1;
        } else {
            self.other_peers += 1;
        }
        Some(cause)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = writeln!(text, "\n{} shown", number(self.shown, "line"));
        if let Some(counters) = &self.counters {
            let of = |name: &str| counters["attempts"][name].as_u64().unwrap_or(0);
            let (started, established, failed) = (of("started"), of("established"), of("failed"));
            let _ =
                writeln!(text, "{}: {established} established, {failed} failed", number(started, "attempt"));
        }
        let mut causes: Vec<_> = self.causes.iter().collect();
        causes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        section(&mut text, "Causes", causes.into_iter().map(|(cause, count)| (cause.as_str(), *count)));
        let mut peers: Vec<_> = self.peers.iter().map(|(peer, count)| (peer.as_str(), *count)).collect();
        peers.sort_by_key(|(peer, count)| (std::cmp::Reverse(*count), *peer));
        let rest = peers.iter().skip(TOP).map(|(_, count)| count).sum::<u64>() + self.other_peers;
        peers.truncate(TOP);
        peers.extend((rest > 0).then_some(("other peers", rest)));
        section(&mut text, "Peers of failed attempts", peers);
        text.push_str(&self.durations());
        text.push_str(&self.losses());
        text
    }

    fn durations(&self) -> String {
        let counts =
            self.counters.as_ref().and_then(|counters| counters["connect_duration_log2_us"].as_array());
        let counts: Vec<u64> = counts.into_iter().flatten().filter_map(Value::as_u64).collect();
        histogram(&counts)
    }

    /// Every event that is not shown and might be missed; empty when there is none.
    pub(super) fn losses(&self) -> String {
        const FIGURES: [(&str, &str); 9] = [
            ("/lost/ringbuf", "lost in the kernel's ring buffer, which was full"),
            ("/lost/queue", "lost because they came faster than they could be described"),
            ("/lost/history", "told, but not kept in history"),
            ("/attempts/untracked", "attempts not followed: too many were under way"),
            ("/attempts/replaced", "attempts whose end was not seen"),
            ("/attempts/evicted", "attempts given up because their end never came"),
            ("/attempts/missed", "events in which the kernel did not run the program"),
            ("/attempts/faults", "events given up because kernel memory could not be read"),
            ("/attempts/code_unsent", "failures told without their code: the ring buffer was full"),
        ];
        let mut lines = Vec::new();
        for (pointer, meaning) in FIGURES {
            let count = self.counters.as_ref().and_then(|counters| counters.pointer(pointer)?.as_u64());
            lines.extend(count.filter(|count| *count > 0).map(|count| (meaning, count)));
        }
        lines
            .extend((self.gap > 0).then_some(("not sent by the server: this reader was too slow", self.gap)));
        lines.extend((self.hidden > 0).then_some(("not shown, because of the filter", self.hidden)));
        let mut text = String::new();
        section(&mut text, "Not shown", lines);
        text
    }
}

fn number(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn section<'a>(text: &mut String, heading: &str, lines: impl IntoIterator<Item = (&'a str, u64)>) {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_some() {
        let _ = writeln!(text, "\n{heading}");
        for (name, count) in lines {
            let _ = writeln!(text, "{count:>10}  {name}");
        }
    }
}

/// Bars of the attempts that established in [2^i, 2^(i+1)) microseconds; empty when there was none.
fn histogram(counts: &[u64]) -> String {
    let (Some(first), Some(last)) =
        (counts.iter().position(|&count| count > 0), counts.iter().rposition(|&count| count > 0))
    else {
        return String::new();
    };
    let most = counts.iter().max().copied().unwrap_or(0).max(1);
    let mut text = "\nTime to establish, of all attempts\n".to_owned();
    for (power, &count) in counts.iter().enumerate().take(last + 1).skip(first) {
        // Rounded up, so that one attempt of a million is still seen.
        let bar =
            usize::try_from((u128::from(count) * u128::from(BAR)).div_ceil(u128::from(most))).unwrap_or(0);
        // The first bucket also has what is below a microsecond.
        let from = if power == 0 { "0".to_owned() } else { microseconds(power) };
        let _ = writeln!(
            text,
            "{from:>10} - {:<7} {count:>8} |{:<40}|",
            microseconds(power + 1),
            "#".repeat(bar)
        );
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "powers of two are exact")]
/// Two to this power, in the largest unit that leaves at least one.
fn microseconds(power: usize) -> String {
    let us = (1_u64 << power.min(63)) as f64;
    match us {
        us if us < 1e3 => format!("{us:.0}us"),
        us if us < 1e6 => format!("{:.1}ms", us / 1e3),
        us => format!("{:.1}s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failed(peer: usize, cause: &str) -> Value {
        json!({
            "event": "connect.failed",
            "network": {"peer": {"address": "10.0.0.1", "port": peer}},
            "tcp": {"connect": {"cause": cause}},
        })
    }

    #[test]
    fn the_most_frequent_stand_first() {
        let mut summary = Summary::default();
        for (peer, cause) in [(1, "timeout"), (2, "refused"), (2, "refused")] {
            assert_eq!(summary.count(&failed(peer, cause)), Some(cause));
        }
        assert_eq!(summary.count(&json!({"event": "connect.retransmit"})), None);
        let text = summary.text();
        assert!(text.contains("Causes\n         2  refused\n         1  timeout\n"), "{text}");
        assert!(text.contains("attempts\n         2  10.0.0.1:2\n         1  10.0.0.1:1\n"), "{text}");
        assert!(!text.contains("Not shown"), "{text}");
    }

    #[test]
    fn peers_beyond_the_bound_are_counted_together() {
        let mut summary = Summary::default();
        for peer in 0..MAX_PEERS + 5 {
            summary.count(&failed(peer, "refused"));
        }
        assert_eq!((summary.peers.len(), summary.other_peers), (MAX_PEERS, 5));
        let rest = MAX_PEERS + 5 - TOP;
        assert!(summary.text().contains(&format!("{rest:>10}  other peers")), "{}", summary.text());
    }

    #[test]
    fn every_loss_is_told() {
        let counters = json!({"lost": {"ringbuf": 3, "queue": 0}, "attempts": {"missed": 2}});
        let summary = Summary { gap: 7, counters: Some(counters), ..Summary::default() };
        let text = summary.losses();
        for line in ["3  lost in the kernel's ring buffer", "2  events in which", "7  not sent"] {
            assert!(text.contains(line), "{text}");
        }
        assert_eq!(text.lines().count(), 5, "{text}");
    }

    #[test]
    fn the_longest_bar_is_that_of_the_most() {
        let text = histogram(&[0, 0, 0, 1, 100, 0, 50, 0]);
        let bars: Vec<_> = text.lines().skip(2).map(|line| line.matches('#').count()).collect();
        assert_eq!(bars, [1, 40, 0, 20]);
        assert!(text.contains("8us - 16us") && text.contains("64us - 128us"), "{text}");
        assert_eq!(histogram(&[0, 0]), "");
        assert!(histogram(&[4]).contains(" 0 - 2us"), "{}", histogram(&[4]));
        assert!(histogram(&[[0; 19].as_slice(), &[1, 1]].concat()).contains("524.3ms - 1.0s"));
    }
}
