//! What the kernel knows around an attempt that went wrong, asked over netlink while it is still fresh: to where
//! connection tracking translated it, which local socket holds the other end, which listener should take it.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;
use schemars::JsonSchema;
use serde::Serialize;
use synscope_tracer::{
    Cause, Event, EventKind,
    netlink::{
        Asker, Evidence, FourTuple, Netns, Twin,
        conntrack::{Entry, Tracking},
        holder,
    },
};

use super::Endpoint;

/// What was found.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Found {
    /// The connection is translated on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    nat: Option<Nat>,
    /// The local socket that holds the other end of the four-tuple.
    #[serde(skip_serializing_if = "Option::is_none")]
    twin: Option<TwinJson>,
    /// The local listener that should take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<ListenerJson>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Nat {
    local: Endpoint,
    peer: Endpoint,
    state: &'static str,
    status: Vec<&'static str>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct TwinJson {
    local: Endpoint,
    peer: Endpoint,
    state: String,
    /// Why it is taken for the other end: `same_tuple`, `translated` or `same_source`.
    evidence: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
struct ListenerJson {
    local: Endpoint,
    queued: u32,
    backlog: u32,
    full: bool,
}

/// Attempts under way of which it is remembered what was found. Beyond, those that had no event for the longest are
/// forgotten.
const MAX_FOUND: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Asks, within bounds.
pub(crate) struct Inquiry {
    asker: Asker,
    budget: Budget,
    skipped: u64,
    /// What was found at the first signs of trouble. The end is what most people read: it is told with that when nothing
    /// can be asked then.
    found: LruCache<u64, Found>,
}

/// What asking may cost.
struct Budget {
    second: Instant,
    /// Events that have asked in this second.
    asked: u32,
    /// Time that asking has taken, and that was not made up for yet.
    spent: Duration,
}

impl Inquiry {
    /// May block while the kernel loads modules.
    pub(crate) fn new() -> Self {
        let budget = Budget::new(Instant::now());
        Self { asker: Asker::prepared(), budget, skipped: 0, found: LruCache::new(MAX_FOUND) }
    }

    /// Events that were told without asking, because of what it may cost: with what was found for an earlier one of the
    /// attempt, if any was.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Asks about an event, if it is one to ask about.
    pub(crate) fn ask(&mut self, event: &Event) -> Found {
        if !is_worth_asking(event) {
            return Found::default();
        }
        let earlier = event.attempt.and_then(|attempt| self.found.pop(&attempt));
        let begun = Instant::now();
        let found = if self.budget.allows(begun) {
            let found = self.look_around(event);
            self.budget.spent += begun.elapsed();
            found
        } else {
            self.skipped += 1;
            earlier.unwrap_or_default()
        };
        let goes_on = matches!(event.kind, EventKind::Retransmitted | EventKind::Challenged);
        if let Some(attempt) = event.attempt.filter(|_| goes_on) {
            self.found.put(attempt, found.clone());
        }
        found
    }

    fn look_around(&mut self, event: &Event) -> Found {
        let (netns, tuple) = (Netns::of(event), FourTuple::of(event));
        let entry = match self.asker.tracking(netns, tuple) {
            Ok(Tracking::Entry(entry)) if entry.is_translated() => Some(entry),
            // What cannot be asked here is said by `doctor`, once, and not with every event.
            _ => None,
        };
        let arrives_as = entry.as_ref().map_or(tuple, |entry| entry.translated());
        let (mut twin, mut listener) = (None, None);
        if !is_plainly_refused(event) {
            twin = self.asker.twin(netns, tuple).ok().flatten();
            listener = self.asker.listener(netns, arrives_as).ok().flatten();
        }
        self.asker.close_idle();
        Found {
            nat: entry.as_deref().map(nat),
            twin: twin.as_ref().map(twin_json),
            listener: listener.map(|listener| ListenerJson {
                local: listener.socket.local.into(),
                queued: listener.queued,
                backlog: listener.backlog,
                full: listener.is_full(),
            }),
        }
    }

    /// Closes what was not used for a while: an open socket keeps its namespace alive.
    pub(crate) fn rest(&mut self) {
        self.asker.close_idle();
    }
}

impl Budget {
    /// Events that may ask, a second. In a storm of failures the answers are the same; what did not ask is counted.
    const EVENTS: u32 = 50;
    /// Time that may be spent, of each second: who reads all sockets of a host with very many keeps other events waiting.
    const TIME: Duration = Duration::from_millis(200);

    fn new(now: Instant) -> Self {
        Self { second: now, asked: 0, spent: Duration::ZERO }
    }

    /// Whether one more event may ask.
    fn allows(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.second).as_secs();
        if seconds > 0 {
            self.second += Duration::from_secs(seconds);
            self.asked = 0;
            self.spent = self.spent.saturating_sub(Self::TIME * u32::try_from(seconds).unwrap_or(u32::MAX));
        }
        let allowed = self.asked < Self::EVENTS && self.spent < Self::TIME;
        self.asked += u32::from(allowed);
        allowed
    }
}

/// A refusal at once says all there is to say: nobody listens, and no other socket is in the way. Looking for either
/// means reading all sockets of the host.
fn is_plainly_refused(event: &Event) -> bool {
    let is_refused = matches!(event.kind, EventKind::Failed(failure) if failure.cause == Cause::Refused);
    is_refused && event.syn_retransmits == 0 && event.challenges == 0
}

/// The first sign of trouble and the end; nothing was sent where connect() failed before a SYN.
fn is_worth_asking(event: &Event) -> bool {
    match event.kind {
        EventKind::Retransmitted => event.syn_retransmits == 1,
        EventKind::Challenged => event.challenges == 1,
        EventKind::Established => event.syn_retransmits > 0,
        EventKind::Failed(_) => event.local.port() != 0,
        EventKind::Started | EventKind::Dropped { .. } | EventKind::SynAckRetransmitted => false,
    }
}

fn nat(entry: &Entry) -> Nat {
    Nat {
        local: entry.real_source().into(),
        peer: entry.real_destination().into(),
        state: entry.state.name(),
        status: entry.status.names().collect(),
    }
}

fn twin_json(twin: &Twin) -> TwinJson {
    let socket = &twin.socket;
    let held = socket.inode.and_then(|inode| holder::find(inode, holder::Budget::default()).ok().flatten());
    TwinJson {
        local: socket.local.into(),
        peer: socket.peer.into(),
        state: socket.state.to_string(),
        evidence: match twin.evidence {
            Evidence::SameTuple => "same_tuple",
            Evidence::Translated(_) => "translated",
            Evidence::SameSource => "same_source",
        },
        pid: held.as_ref().map(|holder| holder.pid),
        comm: held.map(|holder| holder.comm),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::sample;

    #[test]
    fn an_end_that_cannot_be_asked_about_is_told_with_what_was_found_before() {
        let listener = ListenerJson {
            local: sample(EventKind::Challenged).local.into(),
            queued: 1,
            backlog: 1,
            full: false,
        };
        let found = Found { listener: Some(listener), ..Found::default() };
        let mut inquiry = Inquiry::new();
        inquiry.budget.spent = Budget::TIME * 1000;
        inquiry.found.put(1, found);
        // What comes between leaves it for the end, which is the last to need it.
        let first = Event { challenges: 1, ..sample(EventKind::Challenged) };
        let end = Event { syn_retransmits: 1, ..sample(EventKind::Established) };
        for (event, is_told) in [(&first, true), (&end, true), (&end, false)] {
            assert_eq!(inquiry.ask(event).listener.is_some(), is_told, "{event:?}");
        }
        assert_eq!(inquiry.skipped(), 3);
    }

    #[test]
    fn asking_has_a_number_and_a_share_of_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut budget = Budget::new(start);
        let many = (0..60).filter(|_| budget.allows(at(0))).count();
        assert_eq!(many, 50);
        assert!(budget.allows(at(1_000)));
        // As long as five seconds have for it.
        budget.spent += Duration::from_secs(1);
        assert!(!budget.allows(at(1_001)) && !budget.allows(at(2_000)) && !budget.allows(at(5_001)));
        assert!(budget.allows(at(6_000)));
        assert_eq!(budget.spent, Duration::ZERO);
        assert!(budget.allows(at(u64::from(u32::MAX))));
    }
}
