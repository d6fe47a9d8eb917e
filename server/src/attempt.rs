//! One attempt, folded from its events. What queries ask for is typed; the rest stays the JSON of its newest event,
//! so that attempts look the same whether their events came from the kernel, from history or from a file.

mod members;

use std::{borrow::Cow, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{Endpoint, EventBody, EventName, Facts, UnixNano};
use members::Members;

/// Retransmit times held of one attempt; the kernel makes at most 127.
const MAX_RETRANSMITS: usize = 128;

/// What folding and queries need to know of an event.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Head {
    pub(crate) time_unix_nano: UnixNano,
    pub(crate) event: EventName,
    pub(crate) attempt: Option<u64>,
    pub(crate) network: Network,
    #[serde(default)]
    pub(crate) process: Process,
    pub(crate) error: Option<ErrorType>,
    pub(crate) tcp: Tcp,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Network {
    pub(crate) local: Endpoint,
    pub(crate) peer: Endpoint,
}

/// Without `pid` where there is no caller: on the passive side.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Process {
    pub(crate) pid: Option<u32>,
    pub(crate) comm: String,
    pub(crate) user: User,
    pub(crate) cgroup: String,
    pub(crate) netns: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct User {
    pub(crate) id: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ErrorType {
    pub(crate) r#type: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Tcp {
    pub(crate) connect: Connect,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Connect {
    pub(crate) start_unix_nano: UnixNano,
    pub(crate) duration_ms: f64,
    pub(crate) syn_retransmits: u16,
    #[serde(default)]
    pub(crate) stale_peer: bool,
    pub(crate) cause: Option<Cow<'static, str>>,
}

impl From<&EventBody> for Head {
    fn from(body: &EventBody) -> Self {
        let (facts, caller) = (&body.facts, body.facts.who.process.caller.as_ref());
        let connect = &facts.tcp.connect;
        Self {
            time_unix_nano: body.time_unix_nano,
            event: body.event,
            attempt: body.attempt,
            network: Network { local: facts.network.local, peer: facts.network.peer },
            process: Process {
                pid: caller.map(|caller| caller.pid),
                comm: caller.map(|caller| caller.comm.clone()).unwrap_or_default(),
                user: User { id: caller.map(|caller| caller.user.id) },
                cgroup: caller.map(|caller| caller.cgroup.clone()).unwrap_or_default(),
                netns: facts.who.process.netns,
            },
            error: facts.error.as_ref().map(|error| ErrorType { r#type: error.r#type.clone() }),
            tcp: Tcp {
                connect: Connect {
                    start_unix_nano: connect.start_unix_nano,
                    duration_ms: connect.duration_ms,
                    syn_retransmits: connect.syn_retransmits,
                    stale_peer: connect.stale_peer,
                    cause: connect.cause.map(Cow::Borrowed),
                },
            },
        }
    }
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Pending,
    Established,
    Failed,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Established => "established",
            Self::Failed => "failed",
        }
    }
}

/// What the events of one attempt add up to.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// Its id; the kernel side makes it, unique within a trace.
    pub(crate) id: u64,
    pub(crate) state: State,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) ended: Option<UnixNano>,
    pub(crate) retransmits: Vec<UnixNano>,
    /// Of its newest event; shared, because attempts are handed on with every event.
    pub(crate) head: Arc<Head>,
    /// Its newest event.
    pub(crate) newest: Arc<str>,
}

impl Attempt {
    /// An attempt at its first event.
    pub(crate) fn begin(id: u64, seq: u64, head: Head, event: Arc<str>) -> Self {
        let mut attempt = Self {
            id,
            state: State::Pending,
            first_seq: seq,
            last_seq: seq,
            ended: None,
            retransmits: Vec::new(),
            head: Arc::new(head),
            newest: event,
        };
        attempt.advance();
        attempt
    }

    /// As it stood after the event `last_seq`.
    pub(crate) fn restore(
        first_seq: u64,
        last_seq: u64,
        retransmits: Vec<UnixNano>,
        head: Head,
        newest: Arc<str>,
    ) -> Self {
        let mut attempt = Self::begin(head.attempt.unwrap_or_default(), first_seq, head, newest);
        (attempt.last_seq, attempt.retransmits) = (last_seq, retransmits);
        attempt
    }

    /// Takes its next event in.
    pub(crate) fn take(&mut self, seq: u64, head: Head, event: Arc<str>) {
        (self.last_seq, self.head, self.newest) = (seq, Arc::new(head), event);
        self.advance();
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.state == State::Pending
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.state == State::Failed
    }

    fn advance(&mut self) {
        let time = self.head.time_unix_nano;
        match self.head.event {
            EventName::Retransmit if self.retransmits.len() < MAX_RETRANSMITS => self.retransmits.push(time),
            EventName::Established => (self.state, self.ended) = (State::Established, Some(time)),
            EventName::Failed => (self.state, self.ended) = (State::Failed, Some(time)),
            _ => {}
        }
    }

    /// As the API shows it: its own members, then those of its newest event.
    pub(crate) fn to_json(&self) -> String {
        // Strings, numbers and maps with string keys always serialise.
        serde_json::to_string(&self.shown(&[])).unwrap_or_default()
    }

    /// What a filter can ask for, where the API shows it. Stacks would be most of it, and nobody asks for them.
    pub(crate) fn to_facts(&self) -> Value {
        serde_json::to_value(self.shown(&["stack"])).unwrap_or_default()
    }

    fn shown(&self, without: &[&str]) -> Shown<'_> {
        let facts = Members::of(&self.newest).without(&["seq", "time_unix_nano", "event", "attempt"]);
        Shown {
            attempt: self.id,
            state: self.state,
            first_seq: self.first_seq,
            last_seq: self.last_seq,
            start_unix_nano: self.head.tcp.connect.start_unix_nano,
            end_unix_nano: self.ended,
            duration_ms: self.head.tcp.connect.duration_ms,
            retransmit_unix_nano: &self.retransmits,
            facts: facts.without(without),
        }
    }
}

/// An attempt as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Attempt")]
pub(crate) struct Shown<'a> {
    attempt: u64,
    state: State,
    first_seq: u64,
    last_seq: u64,
    start_unix_nano: UnixNano,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_unix_nano: Option<UnixNano>,
    duration_ms: f64,
    retransmit_unix_nano: &'a [UnixNano],
    #[serde(flatten)]
    #[schemars(with = "Facts")]
    facts: Members<'a>,
}

/// An attempt of one event.
#[cfg(test)]
pub(crate) fn sample(event: &str, id: u64) -> Attempt {
    let json = serde_json::json!({
        "seq": id, "time_unix_nano": "1790000000500000000", "event": event, "attempt": id,
        "network": {"local": {"address": "::1", "port": 4000}, "peer": {"address": "::1", "port": 22}},
        "process": {"pid": 4, "comm": "nc"},
        "tcp": {"connect": {
            "start_unix_nano": "1790000000000000000", "duration_ms": 500.0, "syn_retransmits": 1, "cause": "timeout",
        }},
    });
    let json = json.to_string();
    Attempt::begin(id, id, serde_json::from_str(&json).unwrap(), json.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(name: &str, time: u64) -> Value {
        json!({
            "seq": 1, "time_unix_nano": time.to_string(), "event": name, "attempt": 7,
            "network": {
                "transport": "tcp",
                "local": {"address": "10.0.0.5", "port": 4000}, "peer": {"address": "::1", "port": 22},
            },
            "process": {"pid": 4, "comm": "nc"},
            "tcp": {"connect": {"start_unix_nano": "5", "duration_ms": 1.5, "syn_retransmits": 1}},
            "later": {"member": [1, "x"]},
        })
    }

    fn parts(event: &Value) -> (Head, Arc<str>) {
        let text = event.to_string();
        (serde_json::from_str(&text).unwrap(), text.into())
    }

    #[test]
    fn adds_up_its_events_and_shows_the_newest() {
        let (head, text) = parts(&event("connect.retransmit", 10));
        let mut attempt = Attempt::begin(7, 3, head, text);
        assert_eq!(attempt.state, State::Pending);
        let mut last = event("connect.failed", 20);
        last["tcp"]["connect"]["cause"] = "timeout".into();
        let (head, text) = parts(&last);
        attempt.take(9, head, text);
        let shown: Value = serde_json::from_str(&attempt.to_json()).unwrap();
        assert_eq!(
            shown,
            json!({
                "attempt": 7, "state": "failed", "first_seq": 3, "last_seq": 9,
                "start_unix_nano": "5", "end_unix_nano": "20", "duration_ms": 1.5,
                "retransmit_unix_nano": ["10"],
                "network": last["network"], "process": last["process"], "tcp": last["tcp"],
                "later": {"member": [1, "x"]},
            })
        );
    }

    #[test]
    fn an_event_without_what_folding_needs_is_refused_by_name() {
        let mut broken = event("connect.failed", 1);
        broken["network"].as_object_mut().unwrap().remove("peer");
        let error = serde_json::from_value::<Head>(broken).unwrap_err().to_string();
        assert!(error.contains("peer"), "{error}");
        let error = serde_json::from_value::<Head>(event("connect.exploded", 1)).unwrap_err().to_string();
        assert!(error.contains("connect.exploded"), "{error}");
    }
}
