//! What the kernel tells of a TCP socket.

use std::{fmt, net::SocketAddr, time::Duration};

/// State of a TCP socket, by the names of RFC 9293.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum TcpState {
    Established,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    Closed,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    /// One that this version does not know, by the kernel's number.
    Other(u8),
}

impl TcpState {
    /// By the kernel's number (include/net/tcp_states.h).
    pub(super) fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Established,
            2 => Self::SynSent,
            // TCP_NEW_SYN_RECV is a connection request that has no whole socket yet.
            3 | 12 => Self::SynReceived,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Closed,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECEIVED",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::TimeWait => "TIME-WAIT",
            Self::Closed => "CLOSED",
            Self::CloseWait => "CLOSE-WAIT",
            Self::LastAck => "LAST-ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::Other(number) => return write!(f, "state {number}"),
        })
    }
}

/// What a socket's timer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerKind {
    /// To send again what was not acknowledged.
    Retransmit,
    /// To ask an idle peer whether it is there; also the end of a FIN-WAIT-2 that no process holds.
    KeepAlive,
    /// The end of TIME-WAIT, or of FIN-WAIT-2 in the same short form.
    TimeWait,
    /// To ask a peer for window.
    Probe,
}

/// A timer that is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// What for.
    pub kind: TimerKind,
    /// When it fires, from now.
    pub left: Duration,
    /// Retransmits in a row so far; 0 for the other kinds.
    pub retransmits: u8,
}

/// A TCP socket. v4-mapped addresses are shown as IPv4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Local address and port.
    pub local: SocketAddr,
    /// Peer address and port; unspecified and 0 for a listener.
    pub peer: SocketAddr,
    /// State.
    pub state: TcpState,
    /// User id of the process that made it. 0 also when nothing holds it any more.
    pub uid: u32,
    /// Inode number, by which [`holder::find`](super::holder::find) knows the process. `None` when no process
    /// holds it: closed and still finishing, or not accepted yet.
    pub inode: Option<u32>,
    /// Cgroup v2 id, from 5.9 on and when the socket has one.
    pub cgroup: Option<u64>,
    /// The timer that runs, if one does.
    pub timer: Option<Timer>,
    /// Bytes received and not read yet; of a listener, connections not accepted yet.
    pub receive_queue: u32,
    /// Bytes sent and not acknowledged yet; of a listener, its backlog.
    pub send_queue: u32,
}

/// A listening socket and how full its accept queue is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The socket.
    pub socket: Socket,
    /// Connections that wait to be accepted.
    pub queued: u32,
    /// How many may wait: the smaller of listen()'s argument and net.core.somaxconn.
    pub backlog: u32,
}

impl Listener {
    pub(super) fn new(socket: Socket) -> Self {
        Self { queued: socket.receive_queue, backlog: socket.send_queue, socket }
    }

    /// True when it drops what comes (`sk_acceptq_is_full()`: the queue takes one more than its backlog).
    pub fn is_full(&self) -> bool {
        self.queued > self.backlog
    }
}

/// Sockets that match a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Those that were found, at most [`MAX_SOCKETS`](super::MAX_SOCKETS).
    pub found: Vec<Socket>,
    /// False when there are more.
    pub complete: bool,
}
