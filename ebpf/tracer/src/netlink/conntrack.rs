//! Tracked connections of a network namespace, by ctnetlink: whether the kernel translated a connection, and
//! to where.
//!
//! Connections are tracked per namespace, and only where a rule asks for it. Looked up is zone 0, the one that
//! everything is in unless a rule says otherwise. An entry exists from the first packet that left until its
//! timeout; a RST in answer to the SYN ends it at once (`nf_conntrack_tcp_packet()`), so a refused attempt has
//! none afterwards.

use std::{fmt, net::SocketAddr, path::Path, time::Duration};

use nix::sys::socket::SockProtocol;

use super::{FourTuple, Unanswered, channel::Channel, ctnetlink};

/// What connection tracking knows of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// This.
    Entry(Box<Entry>),
    /// Nothing: the entry is gone, or the connection was never tracked.
    NoEntry,
    /// Not a single connection is tracked in this namespace: most likely no rule asks for it.
    NothingTracked,
    /// The kernel does not track connections at all.
    Absent,
}

/// A tracked connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From the side that opened it, as that side sees it.
    pub original: FourTuple,
    /// From the other side, as that side sees it: untranslated it is `original`, reversed.
    pub reply: FourTuple,
    /// Where the TCP handshake stands, as connection tracking sees it.
    pub state: TcpState,
    /// Status bits.
    pub status: Status,
    /// Until the entry is forgotten.
    pub timeout: Option<Duration>,
}

impl Entry {
    /// Where the connection really goes.
    pub fn real_destination(&self) -> SocketAddr {
        self.reply.source
    }

    /// What the other side takes for the connection's source.
    pub fn real_source(&self) -> SocketAddr {
        self.reply.destination
    }

    /// The connection as it is at its destination, with the translated addresses.
    pub fn translated(&self) -> FourTuple {
        self.reply.reversed()
    }

    /// True when source or destination are translated.
    pub fn is_translated(&self) -> bool {
        self.translated() != self.original
    }
}

/// State of a tracked TCP connection, by conntrack's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpState(pub(super) u8);

/// `tcp_conntrack_names` (net/netfilter/nf_conntrack_proto_tcp.c).
const STATES: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];

impl TcpState {
    /// The name, `UNKNOWN` for a state that this version does not know.
    pub fn name(self) -> &'static str {
        STATES.get(usize::from(self.0)).copied().unwrap_or("UNKNOWN")
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Status bits of an entry: `IPS_…` of include/uapi/linux/netfilter/nf_conntrack_common.h.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

/// Names by bit number.
const STATUS_NAMES: [&str; 15] = [
    "EXPECTED",
    "SEEN_REPLY",
    "ASSURED",
    "CONFIRMED",
    "SRC_NAT",
    "DST_NAT",
    "SEQ_ADJUST",
    "SRC_NAT_DONE",
    "DST_NAT_DONE",
    "DYING",
    "FIXED_TIMEOUT",
    "TEMPLATE",
    "UNTRACKED",
    "HELPER",
    "OFFLOAD",
];

impl Status {
    /// Packets went in both directions.
    pub const SEEN_REPLY: Self = Self(1 << 1);
    /// Established: not dropped early when the table is full.
    pub const ASSURED: Self = Self(1 << 2);
    /// The source is translated.
    pub const SRC_NAT: Self = Self(1 << 4);
    /// The destination is translated.
    pub const DST_NAT: Self = Self(1 << 5);

    /// True when all bits of `bits` are set.
    pub fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// Names of the bits that are set, without `IPS_`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        STATUS_NAMES
            .into_iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, name)| name)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Whether this host's connection tracking can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It can.
    Ready {
        /// Connections that are tracked in the caller's namespace.
        tracked: u32,
    },
    /// No connections are tracked on this host: nf_conntrack is not in the kernel, or not loaded.
    Absent,
}

/// For a look at this host; asks in the namespace of the calling thread.
pub fn support() -> Result<Support, Unanswered> {
    if !is_loaded() {
        return Ok(Support::Absent);
    }
    let opened = Channel::open(SockProtocol::NetlinkNetFilter);
    let counted = opened.and_then(|mut channel| ctnetlink::count(&mut channel));
    counted.map(|tracked| Support::Ready { tracked }).map_err(ctnetlink::unanswered)
}

/// Whether nf_conntrack is in the kernel. Asked first, since a question to ctnetlink would load it:
/// `nfnetlink_rcv_msg()` requests the module of a subsystem that it lacks.
pub(super) fn is_loaded() -> bool {
    is_among(Path::new("/sys/module"))
}

/// Built into the kernel it has a directory too, for its parameters. Without sysfs it may be there.
fn is_among(modules: &Path) -> bool {
    !modules.exists() || modules.join("nf_conntrack").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unloaded_conntrack_is_seen_and_a_missing_sysfs_proves_nothing() {
        assert!(!is_among(Path::new("/proc/self")), "there is no nf_conntrack in it");
        assert!(is_among(Path::new("/proc/self/no such directory")));
    }

    #[test]
    fn status_bits_have_their_names() {
        let status = Status(0b10_1010);
        assert_eq!(format!("{status:?}"), r#"{"SEEN_REPLY", "CONFIRMED", "DST_NAT"}"#);
        assert!(status.has(Status::DST_NAT) && !status.has(Status::SRC_NAT));
        assert_eq!(TcpState(200).name(), "UNKNOWN");
    }
}
