//! Asks the kernel about the surroundings of an attempt, over netlink, in the attempt's own network namespace:
//! which local socket holds the other end of its four-tuple, which listener would take it, and to where
//! connection tracking translated it.
//!
//! Everything goes through an [`Asker`], which belongs on a thread that may block.
//!
//! ```no_run
//! # fn example(event: &synscope_tracer::Event) {
//! use synscope_tracer::netlink::{Asker, FourTuple, Netns, conntrack::Tracking, holder};
//!
//! let mut asker = Asker::new();
//! let (netns, tuple) = (Netns::of(event), FourTuple::of(event));
//! match asker.tracking(netns, tuple) {
//!     Ok(Tracking::Entry(entry)) => println!("translated to {}: {:?}", entry.real_destination(), entry.status),
//!     Ok(untracked) => println!("not translated: {untracked:?}"),
//!     Err(reason) => println!("cannot tell: {reason}"),
//! }
//! if let Ok(Some(twin)) = asker.twin(netns, tuple) {
//!     let process = twin.socket.inode.map(|inode| holder::find(inode, holder::Budget::default()));
//!     println!("{} is {} and held by {process:?}", twin.socket.local, twin.socket.state);
//! }
//! # }
//! ```

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use thiserror::Error;

use crate::{Event, errno_name};

mod asker;
mod channel;
pub mod conntrack;
mod ctnetlink;
pub mod holder;
mod namespace;
mod sock_diag;
mod socket;

pub use asker::{Asker, Evidence, IDLE, MAX_OPEN, Twin};
pub use namespace::Netns;
pub use sock_diag::MAX_SOCKETS;
pub use socket::{Listener, Socket, Sockets, TcpState, Timer, TimerKind};

/// Source and destination of a TCP connection, in the direction of its SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FourTuple {
    /// Address and port that connect() was called from.
    pub source: SocketAddr,
    /// Address and port that connect() was called with.
    pub destination: SocketAddr,
}

impl FourTuple {
    /// The tuple of an event's attempt.
    pub fn of(event: &Event) -> Self {
        Self { source: event.local, destination: event.peer }
    }

    /// The same connection, seen from its other end.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }

    /// With v4-mapped addresses as IPv4, the way all answers have them.
    fn canonical(self) -> Self {
        Self { source: canonical(self.source), destination: canonical(self.destination) }
    }
}

impl fmt::Display for FourTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.source, self.destination)
    }
}

/// The address without scope and flow, v4-mapped ones as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(IpAddr::to_canonical(&address.ip()), address.port())
}

/// Why a question has no answer. "There is no such socket" is an answer, and not among these.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unanswered {
    /// Neither a process nor a file leads to the namespace: it has probably ceased to be.
    #[error("nothing leads to network namespace {0} any more")]
    NamespaceGone(u32),
    /// A search in /proc ended at its bound, without a find.
    #[error("gave up the search in /proc after {entries} entries")]
    SearchEnded {
        /// Entries that were looked at.
        entries: usize,
    },
    /// The kernel was built without the TCP part of sock_diag, or its module is missing.
    #[error("this kernel cannot be asked about TCP sockets (CONFIG_INET_TCP_DIAG)")]
    NoTcpDiag,
    /// Connections are tracked, and the kernel offers no way to ask about them.
    #[error("this kernel cannot be asked about tracked connections (CONFIG_NF_CT_NETLINK)")]
    NoCtnetlink,
    /// The kernel refused.
    #[error("{doing}: {}", errno_name(*.errno))]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The kernel's error number.
        errno: i32,
    },
    /// The kernel did not answer in time.
    #[error("the kernel did not answer in time")]
    TimedOut,
    /// The answer is not in netlink's format.
    #[error("the kernel's answer cannot be read: {0}")]
    Malformed(String),
}
