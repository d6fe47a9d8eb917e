//! The one place that questions go through: it keeps the sockets they are asked over.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use nix::{errno::Errno, sys::socket::SockProtocol};

use super::{
    FourTuple, Netns, Unanswered, canonical,
    channel::{Channel, Failure},
    conntrack::{self, Tracking},
    ctnetlink, sock_diag,
    socket::{Listener, Socket, Sockets, TcpState},
};

/// Netlink sockets that are kept open at most; the one that was used least recently makes room.
pub const MAX_OPEN: usize = 16;
/// A netlink socket that was not used for this long is closed, because it keeps its namespace alive: one that
/// everybody else has left would otherwise stay, with its devices and addresses.
pub const IDLE: Duration = Duration::from_secs(10);

/// A namespace that was not found is not searched for again so soon: the search goes through /proc.
const GONE_FOR: Duration = Duration::from_secs(1);
/// Namespaces that are known not to be found.
const MAX_GONE: usize = 64;
/// That connections cannot be looked up is taken for granted for so long; a module may be loaded later.
const UNTRACKED_FOR: Duration = Duration::from_secs(10);

/// Asks the kernel, in any network namespace. Every method may block: for 200 ms a question at the very most,
/// and 50 ms for finding a namespace; usually it takes some microseconds.
///
/// Entering another namespace needs `CAP_SYS_ADMIN`, asking for tracked connections `CAP_NET_ADMIN` there.
///
/// It keeps up to [`MAX_OPEN`] netlink sockets, and thereby their namespaces. Whoever owns it calls
/// [`close_idle`](Self::close_idle) when there is nothing else to do.
#[derive(Default)]
pub struct Asker {
    open: Vec<Open>,
    gone: Vec<(u32, Unanswered, Instant)>,
    /// What the last question for tracked connections was answered with, if that goes for all of them.
    untracked: Option<(Result<Tracking, Unanswered>, Instant)>,
    /// Whether the kernel answers questions about TCP sockets, once it is known.
    tcp_diag: Option<bool>,
}

/// An open channel. As long as it is open, the kernel cannot give the namespace's number to another one.
struct Open {
    netns: u32,
    protocol: SockProtocol,
    channel: Channel,
    used: Instant,
}

/// A local socket that holds the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twin {
    /// The socket.
    pub socket: Socket,
    /// How it was found.
    pub evidence: Evidence,
}

/// Why a socket is taken for the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It has the same addresses and ports.
    SameTuple,
    /// It has the addresses and ports that connection tracking translates the connection's to.
    Translated(FourTuple),
    /// It is the only one whose peer has the address and port that the connection comes from. Connection
    /// tracking does not know the connection (any more), but may have translated it once.
    SameSource,
}

impl Asker {
    /// Nothing is open yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Asker::new`], with whatever answers in place. The kernel loads tcp_diag and nf_conntrack_netlink for the first
    /// question to each, which then takes far longer than an answer: better now than for the first attempt that has
    /// trouble. nf_conntrack itself is not loaded.
    pub fn prepared() -> Self {
        // What cannot be asked says so when it is asked for something.
        let _ = conntrack::support();
        let tcp_diag = Channel::open(SockProtocol::NetlinkSockDiag)
            .and_then(|mut channel| sock_diag::is_there(&mut channel));
        Self { tcp_diag: tcp_diag.ok(), ..Self::default() }
    }

    /// The socket in this namespace that holds the other end of a connection: the server's, when it is here,
    /// or the old connection of a proxy that the connection is redirected to. A listener is not a twin.
    ///
    /// Costs a few hash lookups when it is found by tuple, and a walk through the host's whole table of TCP
    /// sockets when not (half a millisecond for an empty table of 262,144 buckets): to be asked of attempts
    /// that have trouble, not of each.
    pub fn twin(&mut self, netns: Netns, tuple: FourTuple) -> Result<Option<Twin>, Unanswered> {
        let tuple = tuple.canonical();
        if let Some(socket) = self.connected(netns, tuple)? {
            return Ok(Some(Twin { socket, evidence: Evidence::SameTuple }));
        }
        if let Ok(Tracking::Entry(entry)) = self.tracking(netns, tuple) {
            let translated = entry.translated();
            let socket = if entry.is_translated() { self.connected(netns, translated)? } else { None };
            return Ok(socket.map(|socket| Twin { socket, evidence: Evidence::Translated(translated) }));
        }
        let mut others = self.sockets_with_peer(netns, tuple.source)?.found;
        others.retain(|socket| socket.local != tuple.source);
        let only = if others.len() == 1 { others.pop() } else { None };
        Ok(only.map(|socket| Twin { socket, evidence: Evidence::SameSource }))
    }

    /// The socket that is connected to the tuple's source from the tuple's destination, if it is not the one
    /// that the tuple belongs to (a socket that is connected to itself has no twin).
    fn connected(&mut self, netns: Netns, tuple: FourTuple) -> Result<Option<Socket>, Unanswered> {
        let socket = self.diag(netns, |channel| sock_diag::look_up(channel, tuple))?;
        self.check_tcp_diag(netns, socket.is_some())?;
        Ok(socket.filter(|socket| socket.state != TcpState::Listen && socket.local != tuple.source))
    }

    /// The listener in this namespace that takes the SYN of a connect with this tuple, chosen by the kernel as
    /// it chooses for a SYN, among those of SO_REUSEPORT too. The tuple is the one at its destination: when
    /// connection tracking translates, [`Entry::translated`](conntrack::Entry::translated). A listener that is
    /// bound to a device is not seen.
    pub fn listener(&mut self, netns: Netns, tuple: FourTuple) -> Result<Option<Listener>, Unanswered> {
        let tuple = tuple.canonical();
        let listener = self.diag(netns, |channel| sock_diag::listener(channel, tuple))?;
        self.check_tcp_diag(netns, listener.is_some())?;
        Ok(listener)
    }

    /// All sockets in this namespace, but for listeners, that are connected to this address and port.
    pub fn sockets_with_peer(&mut self, netns: Netns, peer: SocketAddr) -> Result<Sockets, Unanswered> {
        let peer = canonical(peer);
        self.diag(netns, |channel| sock_diag::with_peer(channel, peer))
    }

    /// All sockets in this namespace that use this local port, whatever their address: listeners, connections,
    /// and those in TIME-WAIT that no process has any more.
    pub fn sockets_on_port(&mut self, netns: Netns, port: u16) -> Result<Sockets, Unanswered> {
        self.diag(netns, |channel| sock_diag::on_port(channel, port))
    }

    /// What connection tracking in this namespace knows of a connection, given by its tuple from either side.
    pub fn tracking(&mut self, netns: Netns, tuple: FourTuple) -> Result<Tracking, Unanswered> {
        if let Some((answer, _)) =
            self.untracked.as_ref().filter(|(_, since)| since.elapsed() < UNTRACKED_FOR)
        {
            return answer.clone();
        }
        let answer = if conntrack::is_loaded() {
            let asked = self.ask(netns, SockProtocol::NetlinkNetFilter, |channel| {
                ctnetlink::look_up(channel, tuple.canonical())
            });
            asked.and_then(|answered| answered.map_err(ctnetlink::unanswered))
        } else {
            Ok(Tracking::Absent)
        };
        let for_all = matches!(answer, Ok(Tracking::Absent) | Err(Unanswered::NoCtnetlink));
        self.untracked = for_all.then(|| (answer.clone(), Instant::now()));
        answer
    }

    /// Closes what was not used for [`IDLE`]. Returns when to call it again; `None` when nothing is open.
    pub fn close_idle(&mut self) -> Option<Duration> {
        self.open.retain(|open| open.used.elapsed() < IDLE);
        self.open.iter().map(|open| IDLE.saturating_sub(open.used.elapsed())).min()
    }

    /// Netlink sockets that are open now.
    pub fn open_sockets(&self) -> usize {
        self.open.len()
    }

    fn diag<T>(
        &mut self,
        netns: Netns,
        question: impl FnOnce(&mut Channel) -> Result<T, Failure>,
    ) -> Result<T, Unanswered> {
        if self.tcp_diag == Some(false) {
            return Err(Unanswered::NoTcpDiag);
        }
        let answered = self.ask(netns, SockProtocol::NetlinkSockDiag, question)?;
        answered.map_err(|failure| match failure {
            // Of a dump; look-ups have made "no such socket" of it.
            Failure::Kernel(Errno::ENOENT) => Unanswered::NoTcpDiag,
            failure => failure.unanswered("asking for TCP sockets"),
        })
    }

    /// "No such socket" may mean "no such module": finds out, once.
    fn check_tcp_diag(&mut self, netns: Netns, found: bool) -> Result<(), Unanswered> {
        if self.tcp_diag.is_none() {
            let is_there = found || self.diag(netns, sock_diag::is_there)?;
            self.tcp_diag = Some(is_there);
            if !is_there {
                return Err(Unanswered::NoTcpDiag);
            }
        }
        Ok(())
    }

    /// Asks over the namespace's open channel, or a new one.
    fn ask<T>(
        &mut self,
        netns: Netns,
        protocol: SockProtocol,
        question: impl FnOnce(&mut Channel) -> Result<T, Failure>,
    ) -> Result<Result<T, Failure>, Unanswered> {
        self.close_idle();
        let is_it = |open: &Open| open.netns == netns.number && open.protocol == protocol;
        let mut open = match self.open.iter().position(is_it) {
            Some(at) => self.open.remove(at),
            None => match self.open_channel(netns, protocol)? {
                Ok(channel) => Open { netns: netns.number, protocol, channel, used: Instant::now() },
                Err(failure) => return Ok(Err(failure)),
            },
        };
        let answer = question(&mut open.channel);
        open.used = Instant::now();
        if !open.channel.is_stale() {
            // Ordered by use, the latest at the end.
            if self.open.len() == MAX_OPEN {
                self.open.remove(0);
            }
            self.open.push(open);
        }
        Ok(answer)
    }

    fn open_channel(
        &mut self,
        netns: Netns,
        protocol: SockProtocol,
    ) -> Result<Result<Channel, Failure>, Unanswered> {
        self.gone.retain(|(_, _, since)| since.elapsed() < GONE_FOR);
        if let Some((_, reason, _)) = self.gone.iter().find(|(number, ..)| *number == netns.number) {
            return Err(reason.clone());
        }
        let opened = netns.run(|| Channel::open(protocol));
        if let Err(reason) = &opened {
            if self.gone.len() == MAX_GONE {
                self.gone.remove(0);
            }
            self.gone.push((netns.number, reason.clone(), Instant::now()));
        }
        opened
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;

    /// The namespace of the test itself: entering it needs no privilege.
    fn own() -> Netns {
        let number = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
        Netns::numbered(u32::try_from(number).unwrap())
    }

    #[test]
    fn what_is_idle_is_closed() {
        let mut asker = Asker::new();
        assert_eq!(asker.close_idle(), None);
        asker.sockets_on_port(own(), 1).unwrap();
        assert!(asker.close_idle().is_some_and(|left| left <= IDLE));
        assert_eq!(asker.open_sockets(), 1);
        asker.open[0].used -= IDLE;
        assert_eq!(asker.close_idle(), None);
        assert_eq!(asker.open_sockets(), 0);
    }

    #[test]
    fn prepared_it_knows_whether_it_is_answered() {
        let mut asker = Asker::prepared();
        let known = asker.tcp_diag;
        assert_eq!(known, Some(asker.sockets_on_port(own(), 1).is_ok()));
    }

    #[test]
    fn what_goes_for_every_connection_is_not_asked_again() {
        let mut asker = Asker::new();
        let tuple = FourTuple { source: ([127, 0, 0, 1], 1).into(), destination: ([127, 0, 0, 1], 2).into() };
        asker.untracked = Some((Ok(Tracking::Absent), Instant::now()));
        assert_eq!(asker.tracking(own(), tuple), Ok(Tracking::Absent));
        assert_eq!(asker.open_sockets(), 0);
        asker.untracked = Some((Err(Unanswered::NoCtnetlink), Instant::now()));
        assert_eq!(asker.tracking(own(), tuple), Err(Unanswered::NoCtnetlink));
        asker.tcp_diag = Some(false);
        assert_eq!(asker.sockets_on_port(own(), 1), Err(Unanswered::NoTcpDiag));
        assert_eq!(asker.open_sockets(), 0);
    }
}
