//! The cases. Each says what happens and what must be told; all else follows from the reference.

mod active;
mod causes;
mod code;
mod faults;
mod filters;
mod passive;
mod room;
mod waking;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use synscope_ebpf::record::{Counters, kind};
use synscope_tracer::Options;

use crate::{
    case::{Case, Step, Told, state},
    things::{AF_INET, AF_INET6, Packet, Socket, TCP},
};

/// All of them.
pub fn all() -> Vec<Case> {
    [
        active::cases(),
        causes::cases(),
        passive::cases(),
        code::cases(),
        room::cases(),
        filters::cases(),
        faults::cases(),
        waking::cases(),
    ]
    .concat()
}

/// A millisecond in nanoseconds.
pub const MS: u64 = 1_000_000;
/// A second in nanoseconds.
pub const S: u64 = 1_000 * MS;
/// The namespace of every socket that says nothing else.
pub const NETNS: u32 = 4_026_531_840;

/// A case to be completed.
pub(crate) fn case(name: impl Into<String>) -> Case {
    Case {
        name: name.into(),
        options: Options {
            stacks: false,
            slow: Duration::from_secs(1),
            ringbuf_bytes: 1 << 16,
            max_attempts: 64,
            ..Options::default()
        },
        sockets: vec![v4()],
        requests: Vec::new(),
        packets: Vec::new(),
        steps: Vec::new(),
        told: None,
        codes: None,
        counted: None,
        needs: None,
    }
}

impl Case {
    fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    fn sockets(self, sockets: impl Into<Vec<Socket>>) -> Self {
        Self { sockets: sockets.into(), ..self }
    }

    fn requests(self, requests: impl Into<Vec<Socket>>) -> Self {
        Self { requests: requests.into(), ..self }
    }

    fn packets(self, packets: impl Into<Vec<Packet>>) -> Self {
        Self { packets: packets.into(), ..self }
    }

    fn steps(self, steps: impl Into<Vec<Step>>) -> Self {
        Self { steps: steps.into(), ..self }
    }

    fn tells(self, told: impl Into<Vec<Told>>) -> Self {
        Self { told: Some(told.into()), ..self }
    }

    fn codes(self, count: usize) -> Self {
        Self { codes: Some(count), ..self }
    }

    fn counts(self, counted: fn(&Counters) -> bool) -> Self {
        Self { counted: Some(counted), ..self }
    }

    fn needs(self, global: &'static str) -> Self {
        Self { needs: Some(global), ..self }
    }
}

pub(crate) fn v4() -> Socket {
    Socket {
        family: AF_INET,
        protocol: TCP,
        local: Ipv4Addr::new(10, 0, 0, 5).into(),
        peer: Ipv4Addr::new(192, 0, 2, 7).into(),
        local_port: 40_123,
        num: 33_333,
        peer_port: 443,
        error: 0,
        soft_error: 0,
        netns: NETNS,
        pending: 0,
        retrans: 0,
        queued: None,
    }
}

pub(crate) fn v6() -> Socket {
    Socket {
        family: AF_INET6,
        local: Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6).into(),
        peer: Ipv6Addr::new(0x2001, 0xdb8, 7, 8, 9, 10, 11, 12).into(),
        ..v4()
    }
}

/// IPv4 through a socket of the other family.
pub(crate) fn v4_mapped() -> Socket {
    let mapped = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        v6 @ IpAddr::V6(_) => v6,
    };
    Socket { family: AF_INET6, local: mapped(v4().local), peer: mapped(v4().peer), ..v4() }
}

fn connect(sock: usize) -> Step {
    Step::State(sock, state::CLOSE, state::SYN_SENT)
}

fn establish(sock: usize) -> Step {
    Step::State(sock, state::SYN_SENT, state::ESTABLISHED)
}

fn close(sock: usize) -> Step {
    Step::State(sock, state::SYN_SENT, state::CLOSE)
}

fn told(kind: u8) -> Told {
    Told { kind, ..Told::default() }
}

fn failed(error: i32) -> Told {
    Told { error, ..told(kind::FAILED) }
}
