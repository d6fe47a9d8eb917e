//! What the kernel knows around an attempt that went wrong, asked over netlink while it is still fresh: to where
//! connection tracking translated it, which local socket holds the other end, which listener should take it.

use std::time::{Duration, Instant};

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

/// Events that may ask, a second. In a storm of failures the answers are the same; what did not ask is counted.
const ASKING_PER_SECOND: u32 = 50;
const SECOND: Duration = Duration::from_secs(1);

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

/// Asks, within bounds.
pub(crate) struct Inquiry {
    asker: Asker,
    second: Instant,
    asked: u32,
    skipped: u64,
}

impl Inquiry {
    pub(crate) fn new() -> Self {
        Self { asker: Asker::new(), second: Instant::now(), asked: 0, skipped: 0 }
    }

    /// Events that were told without asking, because too many had asked in that second.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Asks about an event, if it is one to ask about.
    pub(crate) fn ask(&mut self, event: &Event) -> Found {
        if !is_worth_asking(event) {
            return Found::default();
        }
        if !self.may_ask() {
            self.skipped += 1;
            return Found::default();
        }
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

    fn may_ask(&mut self) -> bool {
        if self.second.elapsed() >= SECOND {
            (self.second, self.asked) = (Instant::now(), 0);
        }
        self.asked += 1;
        self.asked <= ASKING_PER_SECOND
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
