//! What an event means, in one plain sentence, and what to do next. Fixed templates: no word here is guessed.

use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::Serialize;
use synscope_tracer::{Cause, Event, EventKind, Failure, errno_name};

/// One sentence, and the next step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Diagnosis {
    pub(super) summary: String,
    pub(super) next: String,
}

/// What an event of an attempt means. `None` for a start, which means nothing yet.
pub(crate) fn diagnose(event: &Event) -> Option<Diagnosis> {
    let (summary, next) = match event.kind {
        EventKind::Started => return None,
        EventKind::Dropped { .. } => dropped(event),
        EventKind::SynAckRetransmitted => unanswered_synack(event),
        _ if event.challenges > 0 => stale_peer(event),
        EventKind::Retransmitted | EventKind::Challenged => pending(event),
        EventKind::Established => established(event),
        EventKind::Failed(failure) => failed(event, failure),
    };
    Some(Diagnosis { summary, next })
}

fn pending(event: &Event) -> (String, String) {
    let Event { peer, duration, syn_retransmits, .. } = event;
    let summary = format!("{peer} has not answered for {}, {}.", Human(*duration), retries(*syn_retransmits));
    (summary, SILENT.into())
}

fn established(event: &Event) -> (String, String) {
    let Event { peer, duration, syn_retransmits, .. } = event;
    let took = Human(*duration);
    if *syn_retransmits > 0 {
        let summary = format!(
            "{peer} answered after {took}, {}: earlier packets were lost.",
            retries(*syn_retransmits)
        );
        let next = "Look for loss on the way, or a listen queue that was full: `nstat -az TcpExtListenOverflows` on the \
                    peer.";
        return (summary, next.into());
    }
    let summary = format!("{peer} answered after {took}, at the first SYN.");
    (summary, "Nothing was lost; if this is slow, the way to the peer or the peer itself is.".into())
}

fn failed(event: &Event, failure: Failure) -> (String, String) {
    let Event { peer, duration, .. } = event;
    let took = Human(*duration);
    let error = errno_name(failure.errno);
    match failure.cause {
        Cause::Refused => (
            format!("{peer} refused with RST after {took}: the host is up, nothing listens there."),
            format!(
                "On the peer, `ss -ltn 'sport = :{}'` shows whether the service listens, and on which address; a \
                 firewall that rejects with tcp-reset looks the same.",
                peer.port()
            ),
        ),
        Cause::PortUnreachable => (
            format!(
                "{} said that the port of {peer} is unreachable, after {took}: a firewall rejects it.",
                icmp_of(failure).unwrap_or_else(|| "ICMP".into())
            ),
            "Look for a reject rule on the peer, on the way and on this host: `nft list ruleset`.".into(),
        ),
        Cause::HostUnreachable => (
            format!(
                "{peer} is unreachable, as {} said after {took}.",
                icmp_of(failure).unwrap_or_else(|| "a router or this host's own neighbour table".into())
            ),
            format!("`ip neigh` and `ip route get {}` show how far this host gets by itself.", peer.ip()),
        ),
        Cause::NetUnreachable => (
            format!(
                "{} said that it has no route to {peer}, after {took}.",
                icmp_of(failure).unwrap_or_else(|| "A router".into())
            ),
            format!("`ip route get {}` shows which router this host asks.", peer.ip()),
        ),
        Cause::Timeout => timeout(event, failure),
        Cause::ClosedByApp => (
            format!("{} gave up on {peer} after {took}, {}.", owner(event), retries(event.syn_retransmits)),
            SILENT.into(),
        ),
        Cause::Killed => (
            format!("{} was killed while it waited for {peer}, after {took}.", owner(event)),
            "The attempt itself had not failed yet: find out who sent the signal.".into(),
        ),
        Cause::NoLocalPort => (
            format!("No local port was free for {peer}: the ephemeral range is used up."),
            "`ss -s` shows what holds the ports; keep connections open longer, or widen \
             net.ipv4.ip_local_port_range."
                .into(),
        ),
        Cause::NoRoute => (
            format!("This host has no route to {peer}: connect() failed at once with {error}."),
            format!("`ip route get {}`, in the same network namespace, says the same.", peer.ip()),
        ),
        // connect() that fails by itself takes no time; only ICMPv6 says this of a SYN.
        Cause::Denied if !duration.is_zero() => (
            format!("A firewall on the way forbade the connection to {peer}, as it said by ICMP after {took}."),
            "The rule is not on this host: ask who runs the peer's network.".into(),
        ),
        Cause::Denied => (
            format!("A policy of this host forbade the connection to {peer}: {error}."),
            "Look at prohibit routes, at BPF programs on the cgroup (`bpftool cgroup tree`), and at the security \
             module's log."
                .into(),
        ),
        _ => (
            format!("The connection to {peer} failed with {error} after {took}."),
            "The error is an unusual one for connect(): see `man 2 connect`.".into(),
        ),
    }
}

/// Who said it, and in which words.
fn icmp_of(failure: Failure) -> Option<String> {
    let icmp = failure.icmp?;
    let name = icmp.name().map_or_else(String::new, |name| format!("{name}, "));
    Some(format!("{} (ICMP {name}type {} code {})", icmp.sender, icmp.kind, icmp.code))
}

fn timeout(event: &Event, failure: Failure) -> (String, String) {
    let Event { peer, duration, syn_retransmits, .. } = event;
    let heard = match failure.soft_error {
        0 => String::new(),
        soft => format!("; ICMP had said {}", errno_name(soft)),
    };
    let summary =
        format!("{peer} did not answer for {}, {}{heard}.", Human(*duration), retries(*syn_retransmits));
    (summary, SILENT.into())
}

/// An old connection on the four-tuple is the likeliest reason of whatever else happened.
fn stale_peer(event: &Event) -> (String, String) {
    let Event { peer, local, challenges, .. } = event;
    let outcome = match event.kind {
        EventKind::Established => "; its reset got through, and the attempt succeeded",
        EventKind::Failed(_) => "; the attempt failed",
        _ => "",
    };
    let times = if *challenges == 1 { "once".into() } else { format!("{challenges} times") };
    let summary = format!(
        "{peer} still holds an old connection from port {}: it challenged the SYN {times}{outcome}.",
        local.port()
    );
    let next = format!(
        "On the peer, `ss -tan 'dport = :{}'` shows the old connection, often half closed. If it stays, something \
         drops our RST on the way (a rule for INVALID packets, for example).",
        local.port()
    );
    (summary, next)
}

fn dropped(event: &Event) -> (String, String) {
    let Event { local, peer, .. } = event;
    let summary = format!("This host itself dropped a packet from {local} to {peer}.");
    (
        summary,
        "The drop reason says which part of the kernel did it; for NETFILTER_DROP see `nft list ruleset`."
            .into(),
    )
}

fn unanswered_synack(event: &Event) -> (String, String) {
    let Event { local, peer, syn_retransmits, .. } = event;
    let times = if *syn_retransmits == 1 { "once".into() } else { format!("{syn_retransmits} times") };
    let summary = format!("{peer} does not answer our SYN-ACK from {local}: sent again {times}.");
    let next = "Answers are lost on the way back, the accept queue is full, or the client's address is forged: `ss -ltn` \
                shows the queue, `nstat -az TcpExtListenOverflows` whether it overflowed.";
    (summary, next.into())
}

const SILENT: &str = "SYNs or their answers are dropped on the way. A capture at the peer tells which; look at firewalls, \
                      security groups and routes in both directions.";

fn owner(event: &Event) -> String {
    match &event.owner {
        Some(owner) => format!("{}[{}]", owner.comm(), owner.pid),
        None => "The application".into(),
    }
}

fn retries(count: u16) -> String {
    match count {
        0 => "without a retransmit".into(),
        1 => "after 1 SYN retransmit".into(),
        count => format!("after {count} SYN retransmits"),
    }
}

/// A duration as people say it.
struct Human(Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        let rounded = |unit: u64| nanos.saturating_add(unit / 2) / unit;
        let (tenths, unit) = match nanos {
            1_000_000_000.. => (rounded(100_000_000), "s"),
            100_000.. => (rounded(100_000), "ms"),
            _ => return write!(f, "{} µs", rounded(1_000)),
        };
        write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use synscope_tracer::Icmp;

    use super::*;
    use crate::event::sample as event;

    fn failure(cause: Cause, errno: i32) -> EventKind {
        EventKind::Failed(Failure { cause, errno, soft_error: 0, icmp: None })
    }

    fn summary(event: &Event) -> String {
        diagnose(event).unwrap().summary
    }

    #[test]
    fn each_cause_has_its_sentence() {
        for (cause, errno, expected) in [
            (
                Cause::Refused,
                111,
                "10.0.0.5:81 refused with RST after 0.3 ms: the host is up, nothing listens there.",
            ),
            (
                Cause::PortUnreachable,
                111,
                "ICMP said that the port of 10.0.0.5:81 is unreachable, after 0.3 ms: a firewall rejects it.",
            ),
            (
                Cause::HostUnreachable,
                113,
                "10.0.0.5:81 is unreachable, as a router or this host's own neighbour table said after 0.3 ms.",
            ),
            (Cause::NetUnreachable, 101, "A router said that it has no route to 10.0.0.5:81, after 0.3 ms."),
            (Cause::Timeout, 110, "10.0.0.5:81 did not answer for 0.3 ms, without a retransmit."),
            (Cause::ClosedByApp, 0, "curl[7] gave up on 10.0.0.5:81 after 0.3 ms, without a retransmit."),
            (Cause::Killed, 0, "curl[7] was killed while it waited for 10.0.0.5:81, after 0.3 ms."),
            (
                Cause::NoLocalPort,
                99,
                "No local port was free for 10.0.0.5:81: the ephemeral range is used up.",
            ),
            (
                Cause::NoRoute,
                101,
                "This host has no route to 10.0.0.5:81: connect() failed at once with ENETUNREACH.",
            ),
            (
                Cause::Denied,
                13,
                "A firewall on the way forbade the connection to 10.0.0.5:81, as it said by ICMP after 0.3 ms.",
            ),
            (Cause::Other, 22, "The connection to 10.0.0.5:81 failed with EINVAL after 0.3 ms."),
        ] {
            assert_eq!(summary(&event(failure(cause, errno))), expected, "{cause}");
        }
    }

    #[test]
    fn what_this_host_forbids_takes_no_time() {
        let denied = Event { duration: Duration::ZERO, ..event(failure(Cause::Denied, 1)) };
        assert_eq!(summary(&denied), "A policy of this host forbade the connection to 10.0.0.5:81: EPERM.");
    }

    #[test]
    fn retries_are_told() {
        let mut late = event(EventKind::Retransmitted);
        (late.duration, late.syn_retransmits) = (Duration::from_millis(3004), 2);
        assert_eq!(summary(&late), "10.0.0.5:81 has not answered for 3.0 s, after 2 SYN retransmits.");
        late.kind = EventKind::Established;
        let expected =
            "10.0.0.5:81 answered after 3.0 s, after 2 SYN retransmits: earlier packets were lost.";
        assert_eq!(summary(&late), expected);
        late.syn_retransmits = 0;
        assert_eq!(summary(&late), "10.0.0.5:81 answered after 3.0 s, at the first SYN.");
    }

    #[test]
    fn a_timeout_says_what_icmp_had_said() {
        let kind =
            EventKind::Failed(Failure { cause: Cause::Timeout, errno: 113, soft_error: 113, icmp: None });
        let expected =
            "10.0.0.5:81 did not answer for 0.3 ms, without a retransmit; ICMP had said EHOSTUNREACH.";
        assert_eq!(summary(&event(kind)), expected);
    }

    #[test]
    fn who_said_no_by_icmp_is_named() {
        let icmp = Some(Icmp { sender: [192, 0, 2, 77].into(), is_v6: false, kind: 3, code: 1 });
        let said =
            |cause, errno| summary(&event(EventKind::Failed(Failure { cause, errno, soft_error: 0, icmp })));
        let who = "192.0.2.77 (ICMP host unreachable, type 3 code 1)";
        assert_eq!(
            said(Cause::HostUnreachable, 113),
            format!("10.0.0.5:81 is unreachable, as {who} said after 0.3 ms.")
        );
        assert_eq!(
            said(Cause::NetUnreachable, 101),
            format!("{who} said that it has no route to 10.0.0.5:81, after 0.3 ms.")
        );
        assert!(said(Cause::PortUnreachable, 111).starts_with(who));
    }

    #[test]
    fn an_old_connection_at_the_peer_comes_first() {
        let mut stale = event(failure(Cause::ClosedByApp, 0));
        stale.challenges = 3;
        let expected = "10.0.0.5:81 still holds an old connection from port 40000: it challenged the SYN 3 times; the \
                        attempt failed.";
        assert_eq!(summary(&stale), expected);
        stale.kind = EventKind::Established;
        stale.challenges = 1;
        assert!(
            summary(&stale)
                .ends_with("it challenged the SYN once; its reset got through, and the attempt succeeded.")
        );
    }

    #[test]
    fn the_passive_side_and_drops_have_theirs() {
        let mut synack = event(EventKind::SynAckRetransmitted);
        synack.syn_retransmits = 1;
        let expected = "10.0.0.5:81 does not answer our SYN-ACK from 10.0.0.1:40000: sent again once.";
        assert_eq!(summary(&synack), expected);
        let drop = event(EventKind::Dropped { reason: 2 });
        assert_eq!(summary(&drop), "This host itself dropped a packet from 10.0.0.1:40000 to 10.0.0.5:81.");
        assert_eq!(diagnose(&event(EventKind::Started)), None);
    }
}
