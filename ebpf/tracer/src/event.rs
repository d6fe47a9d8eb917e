//! What the tracer tells: typed events, decoded from the kernel's records.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use synscope_ebpf::record::{Attempt, Record, RecordWithStacks, Stack, kind};
use zerocopy::FromBytes;

use crate::{
    cause::Failure,
    clock::Clock,
    code::{Code, Codes},
};

/// What happened to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It entered SYN_SENT.
    Started,
    /// A SYN left the host again.
    Retransmitted,
    /// The peer answered with an ACK of another connection on this four-tuple.
    Challenged,
    /// It succeeded.
    Established,
    /// It ended without a connection.
    Failed(Failure),
    /// This host dropped one of its packets.
    Dropped {
        /// The kernel's number of the reason, named by [`crate::Layout::drop_reason`]; 0 when it gives none.
        reason: i32,
    },
    /// A listener's SYN-ACK was sent again: the passive side, `local` is the listener's.
    SynAckRetransmitted,
}

/// The task that called connect().
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Process (thread group) id, in the initial pid namespace.
    pub pid: u32,
    /// Thread id, in the initial pid namespace.
    pub tid: u32,
    /// User id.
    pub uid: u32,
    /// Thread name, padded with zeros. Any bytes: the kernel does not care.
    pub comm: [u8; 16],
    /// Cgroup v2 id.
    pub cgroup: u64,
}

impl Owner {
    /// The thread name as text, what is not UTF-8 replaced.
    pub fn comm(&self) -> String {
        let end = self.comm.iter().position(|&byte| byte == 0).unwrap_or(self.comm.len());
        String::from_utf8_lossy(&self.comm[..end]).into_owned()
    }
}

/// Return addresses, innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stacks {
    /// Of the caller at connect(). Empty when the kernel could not walk it.
    pub user: Vec<u64>,
    /// Of the kernel at this event.
    pub kernel: Vec<u64>,
}

/// One event of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The attempt, unique within a trace. The passive side has none, nor has a dropped packet whose socket
    /// the kernel no longer knew.
    pub attempt: Option<u64>,
    /// When, in nanoseconds since 1970.
    pub time_unix_ns: u64,
    /// When the attempt entered SYN_SENT, in nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// From entering SYN_SENT to this event.
    pub duration: Duration,
    /// Local address and port; the port is 0 while none is chosen.
    pub local: SocketAddr,
    /// Peer address and port. v4-mapped addresses are shown as IPv4.
    pub peer: SocketAddr,
    /// Who called connect(); nobody on the passive side.
    pub owner: Option<Owner>,
    /// Number of the socket's network namespace.
    pub netns: u32,
    /// SYNs that left the host again, up to and with this event; on the passive side, SYN-ACKs.
    pub syn_retransmits: u16,
    /// SYNs that were to leave again and did not leave the host (known from kernel 6.17 on).
    pub syn_unsent: u16,
    /// Challenge ACKs so far.
    pub challenges: u16,
    /// When the trace asked for stacks.
    pub stacks: Option<Stacks>,
    /// What the kernel kept of the caller's code, from the first failure of the process on.
    pub code: Option<Arc<Code>>,
}

/// Decodes one event of the ring buffer. `None` when it is not one of ours: a size or a kind that this version does
/// not know.
pub(crate) fn decode(bytes: &[u8], clock: Clock, codes: &mut Codes) -> Option<Event> {
    if let Ok(with_stacks) = RecordWithStacks::ref_from_bytes(bytes) {
        let stacks = Stacks { user: frames(&with_stacks.user), kernel: frames(&with_stacks.kernel) };
        let code = codes.of(&with_stacks.record.attempt);
        return Some(Event { code, ..event(&with_stacks.record, Some(stacks), clock)? });
    }
    event(Record::ref_from_bytes(bytes).ok()?, None, clock)
}

fn event(record: &Record, stacks: Option<Stacks>, clock: Clock) -> Option<Event> {
    let Attempt { id, start_ns, cgroup, tgid, tid, uid, comm, .. } = record.attempt;
    Some(Event {
        kind: match record.kind {
            kind::START => EventKind::Started,
            kind::RETRANSMIT => EventKind::Retransmitted,
            kind::CHALLENGE => EventKind::Challenged,
            kind::ESTABLISHED => EventKind::Established,
            kind::FAILED => EventKind::Failed(Failure::of(record)),
            kind::DROP => EventKind::Dropped { reason: record.error },
            kind::SYNACK_RETRANSMIT => EventKind::SynAckRetransmitted,
            _ => return None,
        },
        attempt: (id != 0).then_some(id),
        time_unix_ns: clock.unix_ns(record.time_ns),
        start_unix_ns: clock.unix_ns(start_ns),
        duration: Duration::from_nanos(record.time_ns.saturating_sub(start_ns)),
        local: address(record.local_addr, record.local_port),
        peer: address(record.peer_addr, record.peer_port),
        owner: (id != 0).then_some(Owner { pid: tgid, tid, uid, comm, cgroup }),
        netns: record.netns,
        syn_retransmits: record.attempt.retransmits,
        syn_unsent: record.attempt.unsent,
        challenges: record.attempt.challenges,
        stacks,
        code: None,
    })
}

fn address(bytes: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical(), port)
}

/// The frames that the kernel filled; none when it refused.
fn frames<const N: usize>(stack: &Stack<N>) -> Vec<u64> {
    let used = usize::try_from(stack.length).unwrap_or(0) / size_of::<u64>();
    stack.frames[..used.min(N)].to_vec()
}
