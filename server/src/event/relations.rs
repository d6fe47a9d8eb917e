//! What one event says about another: who used a local port last, which two events are the two ends of one
//! connection, which attempt a dropped packet belonged to. All of it as far as this trace saw.

use std::{net::SocketAddr, num::NonZeroUsize};

use lru::LruCache;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use synscope_tracer::{Event, EventKind, Owner};

use super::{Endpoint, UnixNano};

/// Local ports that are remembered together. A caller that connects again gets one a little above its last (seen on 6.18),
/// so that its place is often in a cache already.
const RUN: u16 = 16;
/// Runs of local ports remembered: all of one network namespace.
const RUNS: NonZeroUsize = NonZeroUsize::new(65_536 / RUN as usize).unwrap();
/// Four-tuples remembered of attempts, of listeners' answers and of dropped packets, each.
const TUPLES: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// Dropped packets told with an attempt.
const MAX_DROPS: usize = 16;

/// What is known besides the event itself.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Related {
    #[serde(skip_serializing_if = "Option::is_none")]
    port_history: Option<PortUse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_end: Option<OtherEnd>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    local_drops: Vec<LocalDrop>,
}

/// The attempt that used the local port last.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct PortUse {
    attempt: u64,
    pid: u32,
    // Made text when it is told: most uses never are.
    #[serde(serialize_with = "comm")]
    #[schemars(with = "String")]
    comm: Owner,
    peer: Endpoint,
    ended_unix_nano: UnixNano,
    outcome: &'static str,
}

fn comm<S: Serializer>(owner: &Owner, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&owner.comm())
}

/// The same connection as its other end on this host saw it.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
struct OtherEnd {
    /// Of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u64>,
    /// SYN-ACKs that the listener sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    synack_retransmits: Option<u16>,
    /// Network namespace of the other end.
    netns: u32,
}

/// A packet of the attempt that this host dropped.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct LocalDrop {
    time_unix_nano: UnixNano,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The client's address, then the server's.
type Tuple = (SocketAddr, SocketAddr);

struct Client {
    attempt: u64,
    netns: u32,
}

/// Who used a local port of a network namespace last.
struct Ports(LruCache<(u32, u16), Box<[Option<PortUse>; RUN as usize]>>);

impl Ports {
    /// The place for it.
    fn at(&mut self, netns: u32, port: u16) -> &mut Option<PortUse> {
        let run = self.0.get_or_insert_mut((netns, port / RUN), Box::default);
        &mut run[usize::from(port % RUN)]
    }
}

/// What was seen so far.
pub(crate) struct Relations {
    ports: Ports,
    clients: LruCache<Tuple, Client>,
    listeners: LruCache<Tuple, OtherEnd>,
    drops: LruCache<Tuple, Vec<LocalDrop>>,
}

impl Relations {
    pub(crate) fn new() -> Self {
        Self {
            ports: Ports(LruCache::new(RUNS)),
            clients: LruCache::new(TUPLES),
            listeners: LruCache::new(TUPLES),
            drops: LruCache::new(TUPLES),
        }
    }

    /// Takes an event in. A dropped packet whose sender the kernel had forgotten gets its attempt, if that was
    /// told of before.
    pub(crate) fn relate(&mut self, event: &mut Event, drop_reason: Option<&str>) -> Related {
        match event.kind {
            EventKind::SynAckRetransmitted => self.listener(event),
            EventKind::Dropped { .. } => self.dropped(event, drop_reason),
            _ => self.client(event),
        }
    }

    fn listener(&mut self, event: &Event) -> Related {
        let tuple = (event.peer, event.local);
        let seen =
            OtherEnd { attempt: None, synack_retransmits: Some(event.syn_retransmits), netns: event.netns };
        self.listeners.put(tuple, seen);
        let client = self.clients.get(&tuple);
        let other_end = client.map(|client| OtherEnd {
            attempt: Some(client.attempt),
            synack_retransmits: None,
            netns: client.netns,
        });
        Related { other_end, ..Related::default() }
    }

    fn dropped(&mut self, event: &mut Event, reason: Option<&str>) -> Related {
        let tuple = (event.local, event.peer);
        event.attempt = event.attempt.or_else(|| self.clients.get(&tuple).map(|client| client.attempt));
        let drops = self.drops.get_or_insert_mut(tuple, Vec::new);
        if drops.len() < MAX_DROPS {
            let time_unix_nano = UnixNano(event.time_unix_ns);
            drops.push(LocalDrop { time_unix_nano, reason: reason.map(str::to_owned) });
        }
        Related { local_drops: drops.clone(), ..Related::default() }
    }

    fn client(&mut self, event: &Event) -> Related {
        let Some(attempt) = event.attempt else { return Related::default() };
        let tuple = (event.local, event.peer);
        let port = event.local.port();
        let used = self.ports.at(event.netns, port);
        let related = Related {
            port_history: used.as_ref().filter(|last| last.attempt != attempt).cloned(),
            other_end: self.listeners.get(&tuple).copied(),
            local_drops: self.drops.get(&tuple).cloned().unwrap_or_default(),
        };
        let outcome = match event.kind {
            EventKind::Established => "established",
            EventKind::Failed(failure) => failure.cause.name(),
            _ => {
                self.clients.put(tuple, Client { attempt, netns: event.netns });
                return related;
            }
        };
        self.clients.pop(&tuple);
        self.drops.pop(&tuple);
        if let (Some(owner), true) = (&event.owner, port != 0) {
            *used = Some(PortUse {
                attempt,
                pid: owner.pid,
                comm: *owner,
                peer: event.peer.into(),
                ended_unix_nano: UnixNano(event.time_unix_ns),
                outcome,
            });
        }
        related
    }
}

#[cfg(test)]
mod tests {
    use synscope_tracer::{Cause, Failure};

    use super::*;
    use crate::event::sample;

    const CLIENT: &str = "10.0.0.1:40000";
    const SERVER: &str = "10.0.0.5:80";

    fn event(attempt: u64, kind: EventKind) -> Event {
        Event {
            attempt: Some(attempt),
            time_unix_ns: 5,
            local: CLIENT.parse().unwrap(),
            peer: SERVER.parse().unwrap(),
            syn_retransmits: 1,
            ..sample(kind)
        }
    }

    fn passive(kind: EventKind) -> Event {
        let (local, peer) = match kind {
            EventKind::SynAckRetransmitted => (SERVER, CLIENT),
            _ => (CLIENT, SERVER),
        };
        let (local, peer) = (local.parse().unwrap(), peer.parse().unwrap());
        Event { attempt: None, owner: None, local, peer, netns: 2, ..event(0, kind) }
    }

    fn failed(attempt: u64) -> Event {
        let failure = Failure { cause: Cause::Timeout, errno: 110, soft_error: 0, icmp: None };
        event(attempt, EventKind::Failed(failure))
    }

    #[test]
    fn the_last_user_of_a_port_is_remembered_and_is_never_the_attempt_itself() {
        let mut relations = Relations::new();
        assert!(relations.relate(&mut failed(1), None).port_history.is_none());
        let last = relations.relate(&mut event(2, EventKind::Retransmitted), None).port_history.unwrap();
        assert_eq!((last.attempt, last.pid, last.outcome), (1, 7, "timeout"));
        assert_eq!(relations.relate(&mut failed(2), None).port_history.unwrap().attempt, 1);
        assert_eq!(relations.relate(&mut failed(3), None).port_history.unwrap().attempt, 2);
    }

    #[test]
    fn both_ends_point_to_each_other_whichever_is_told_first() {
        let mut relations = Relations::new();
        relations.relate(&mut event(1, EventKind::Retransmitted), None);
        let from_listener = relations.relate(&mut passive(EventKind::SynAckRetransmitted), None);
        assert_eq!(from_listener.other_end.unwrap().attempt, Some(1));
        let from_client = relations.relate(&mut failed(1), None).other_end.unwrap();
        assert_eq!((from_client.synack_retransmits, from_client.netns), (Some(1), 2));
    }

    #[test]
    fn a_packet_dropped_before_the_attempt_was_told_is_shown_with_it() {
        let mut relations = Relations::new();
        let mut drop = passive(EventKind::Dropped { reason: 2 });
        relations.relate(&mut drop, Some("NETFILTER_DROP"));
        assert_eq!(drop.attempt, None);
        let drops = relations.relate(&mut event(1, EventKind::Retransmitted), None).local_drops;
        assert_eq!(drops[0].reason.as_deref(), Some("NETFILTER_DROP"));
        let mut second = passive(EventKind::Dropped { reason: 2 });
        relations.relate(&mut second, Some("NETFILTER_DROP"));
        assert_eq!(second.attempt, Some(1));
    }
}
