//! What a case is made of.

use std::net::IpAddr;

use bpf_lab::Task;
use synscope_ebpf::record::{Counters, Record};
use synscope_tracer::Options;

use crate::{
    fixtures::Kernel,
    program::Program,
    things::{Packet, Socket},
};

/// `TCP_*` states.
pub mod state {
    /// `TCP_ESTABLISHED`
    pub const ESTABLISHED: u8 = 1;
    /// `TCP_SYN_SENT`
    pub const SYN_SENT: u8 = 2;
    /// `TCP_SYN_RECV`
    pub const SYN_RECV: u8 = 3;
    /// `TCP_CLOSE`
    pub const CLOSE: u8 = 7;
    /// `TCP_LISTEN`
    pub const LISTEN: u8 = 10;
    /// All that a kernel can show; 12 came as a state of requests, 13 with 6.13.
    pub const ALL: std::ops::RangeInclusive<u8> = 1..=13;
}

/// A socket by its place in the case, or a request, or a packet.
pub type Index = usize;

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `inet_sock_set_state(sk, old, new)`
    State(Index, u8, u8),
    /// `tcp_retransmit_skb(sk, skb, error)`
    Retransmit(Index, i32),
    /// `tcp_send_reset(sk, skb)`
    Challenge(Index),
    /// `tcp_send_reset(NULL, skb)`: a packet is refused that belongs to no socket.
    Refusal,
    /// `tcp_receive_reset(sk)`
    Reset(Index),
    /// `inet_sk_error_report(sk)`
    Report(Index),
    /// `tcp_retransmit_synack(sk, request)`
    SynAck(Index),
    /// `kfree_skb(skb, location, reason)`
    Drop(Index, i32),
    /// `sys_exit_connect`: the call on this socket's descriptor returns this.
    Returned(Index, i64),
    /// The socket changes.
    Become(Index, Socket),
    /// Time passes, in nanoseconds.
    Wait(u64),
    /// Another task runs.
    Switch(Task),
    /// The current task runs another program, or none: then it is a thread of the kernel.
    Runs(Option<Program>),
    /// The current task's `flags` and `exit_code`.
    Exiting(u32, i32),
    /// Another processor goes on.
    Cpu(u32),
    /// Of the reads of foreign memory from here on, this one fails; 0 is the next.
    FailRead(usize),
    /// The user stack cannot be walked, with this errno; 0 makes it possible again.
    UserStack(i32),
    /// What connect() was given as address: where to and how long it is readable, in bytes.
    Address(IpAddr, u16, usize),
    /// The stack that was kept for the attempt is gone, as if there had been no room for it.
    Unkept(Index),
    /// The counts of the attempt under way are this large already.
    Counted(Index, u16),
    /// User space reads the ring buffer empty.
    Drain,
    /// The reader says that it will look by itself within so many nanoseconds.
    Promise(u64),
}

/// A record that a case expects, by what it is about; owner, addresses and times come from the reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// `record::kind`
    pub kind: u8,
    /// `Attempt::retransmits`
    pub retransmits: u16,
    /// `Attempt::unsent`
    pub unsent: u16,
    /// `Attempt::challenges`
    pub challenges: u16,
    /// `Attempt::evidence`
    pub evidence: u16,
    /// `Attempt::reported_soft_error`
    pub reported: i32,
    /// `Record::error`
    pub error: i32,
    /// `Record::soft_error`
    pub soft_error: i32,
    /// `Record::exit_code`
    pub exit_code: i32,
    /// `Record::icmp`: type and code
    pub icmp: (u8, u8),
}

impl From<&Record> for Told {
    fn from(record: &Record) -> Self {
        let attempt = &record.attempt;
        Self {
            kind: record.kind,
            retransmits: attempt.retransmits,
            unsent: attempt.unsent,
            challenges: attempt.challenges,
            evidence: attempt.evidence,
            reported: attempt.reported_soft_error,
            icmp: (record.icmp.kind, record.icmp.code),
            error: record.error,
            soft_error: record.soft_error,
            exit_code: record.exit_code,
        }
    }
}

/// One history and what must come of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// What must be true.
    pub name: String,
    /// What the trace asks for.
    pub options: Options,
    /// The sockets.
    pub sockets: Vec<Socket>,
    /// Requests of the passive side.
    pub requests: Vec<Socket>,
    /// Packets.
    pub packets: Vec<Packet>,
    /// What happens.
    pub steps: Vec<Step>,
    /// What must be told on kernels that have every hook; `None` where only the reference knows.
    pub told: Option<Vec<Told>>,
    /// How many processes' code must be sent on kernels that show it; `None` where only the reference knows.
    pub codes: Option<usize>,
    /// Checks of what was counted.
    pub counted: Option<fn(&Counters) -> bool>,
    /// Without this global set, or this tracepoint, a kernel cannot tell what `told` says.
    pub needs: Option<&'static str>,
}

impl Case {
    /// True when the kernel can tell what the case expects to be told.
    pub fn holds_on(&self, kernel: &Kernel) -> bool {
        self.needs.is_none_or(|needed| kernel.has(needed) || kernel.tracepoint_args(needed).is_some())
    }
}
