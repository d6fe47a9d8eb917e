//! Where the running kernel keeps what the programs read: BTF offsets, and which tracepoints there are.

use crate::btf::{self, Btf};

/// Offsets that the programs cannot do without: global, structure, member.
const REQUIRED: &[(&str, &str, &str)] = &[
    ("OFF_DADDR", "sock_common", "skc_daddr"),
    ("OFF_SADDR", "sock_common", "skc_rcv_saddr"),
    ("OFF_DPORT", "sock_common", "skc_dport"),
    ("OFF_FAMILY", "sock_common", "skc_family"),
    ("OFF_NET", "sock_common", "skc_net.net"),
    ("OFF_V6_DADDR", "sock_common", "skc_v6_daddr"),
    ("OFF_V6_SADDR", "sock_common", "skc_v6_rcv_saddr"),
    ("OFF_ERR", "sock", "sk_err"),
    ("OFF_ERR_SOFT", "sock", "sk_err_soft"),
    ("OFF_PROTOCOL", "sock", "sk_protocol"),
    ("OFF_SPORT", "inet_sock", "inet_sport"),
    ("OFF_NETNS_INUM", "net", "ns.inum"),
    ("OFF_TASK_FLAGS", "task_struct", "flags"),
    ("OFF_TASK_EXIT_CODE", "task_struct", "exit_code"),
];

/// One of our programs and the tracepoint that it hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Name of the program in the object.
    pub program: &'static str,
    /// Name of the raw tracepoint.
    pub tracepoint: &'static str,
    /// Without it there is nothing to tell.
    pub required: bool,
    /// What cannot be told without it.
    pub tells: &'static str,
}

/// Every program of the object.
pub const PROBES: &[Probe] = &[
    Probe {
        program: "set_state",
        tracepoint: "inet_sock_set_state",
        required: true,
        tells: "where an attempt starts and ends",
    },
    Probe {
        program: "retransmit",
        tracepoint: "tcp_retransmit_skb",
        required: true,
        tells: "each SYN retransmit",
    },
    Probe {
        program: "receive_reset",
        tracepoint: "tcp_receive_reset",
        required: true,
        tells: "a refusal by RST, apart from one by ICMP",
    },
    Probe {
        program: "challenge",
        tracepoint: "tcp_send_reset",
        required: true,
        tells: "a peer that still holds an old connection on the four-tuple",
    },
    Probe {
        program: "error_report",
        tracepoint: "inet_sk_error_report",
        required: false,
        tells: "an ICMP error that the application read before it closed",
    },
];

/// What the tracer knows of a kernel. Made once, then shared by every trace.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Value of each offset global.
    pub(crate) offsets: Vec<(&'static str, u32)>,
    /// `tcp_retransmit_skb` carries the error of a SYN that could not be sent (6.17 and later).
    pub(crate) retransmit_has_error: bool,
    /// Tracepoints of [`PROBES`] that this kernel lacks.
    pub(crate) missing: Vec<Probe>,
}

impl Layout {
    /// Looks everything up in a kernel's BTF. The first required thing that is missing is the error.
    pub fn resolve(btf: &Btf) -> Result<Self, btf::Error> {
        let offset = |&(global, structure, member): &(&'static str, &str, &str)| {
            btf.offset_of(structure, member).map(|offset| (global, offset))
        };
        let missing: Vec<Probe> =
            PROBES.iter().filter(|probe| btf.tracepoint_args(probe.tracepoint).is_none()).copied().collect();
        if let Some(probe) = missing.iter().find(|probe| probe.required) {
            return Err(btf::Error::NoType(format!("btf_trace_{}", probe.tracepoint)));
        }
        Ok(Self {
            offsets: REQUIRED.iter().map(offset).collect::<Result<_, _>>()?,
            retransmit_has_error: btf.tracepoint_args("tcp_retransmit_skb") >= Some(3),
            missing,
        })
    }

    /// Programs whose tracepoint the kernel does not have; what they tell, this kernel cannot.
    pub fn missing(&self) -> &[Probe] {
        &self.missing
    }
}
