//! The connects that scenarios make.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, getsockname, socket_with, sockopt};
use socket2::{Domain, SockFilter, Socket, Type};

/// Classic BPF for "keep nothing of this packet".
const DROP_ALL: SockFilter = SockFilter::new(0x06, 0, 0, 0);

/// A connect to be made: to whom, with which patience, by which protocol.
#[derive(Clone, Copy, Debug)]
pub struct Connect {
    peer: SocketAddr,
    from: Option<SocketAddr>,
    patience: Option<Duration>,
    protocol: Option<Protocol>,
}

/// How a connect ended, as the application saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// connect() succeeded.
    Connected,
    /// connect(), or `SO_ERROR` after it, said no.
    Failed(Errno),
    /// The application's own patience ran out and it closed the socket.
    GaveUp,
}

/// One finished connect and who made it.
#[derive(Clone, Copy, Debug)]
pub struct Try {
    /// How it ended.
    pub ended: Ended,
    /// The socket's own address after connect() returned.
    pub local: SocketAddr,
    /// The thread that called connect().
    pub tid: i32,
    /// From the call of connect() to its end.
    pub took: Duration,
}

impl Connect {
    /// A plain TCP connect that waits for as long as the kernel does.
    pub fn to(peer: SocketAddr) -> Self {
        Self { peer, from: None, patience: None, protocol: None }
    }

    /// A connect to `peer`, written as `203.0.113.7:22`.
    pub fn to_address(peer: &str) -> Result<Self> {
        Ok(Self::to(peer.parse().with_context(|| format!("not an address: {peer}"))?))
    }

    /// Gives up by closing the socket after `patience`.
    #[must_use]
    pub fn giving_up_after(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// Uses this address and port, whoever used them before.
    #[must_use]
    pub fn from(self, local: SocketAddr) -> Self {
        Self { from: Some(local), ..self }
    }

    /// Uses this protocol in place of TCP.
    #[must_use]
    pub fn by(self, protocol: Protocol) -> Self {
        Self { protocol: Some(protocol), ..self }
    }

    /// Makes the connect on this thread and closes the socket, however it ended.
    pub fn run(self) -> Result<Try> {
        let family = AddressFamily::from_raw(if self.peer.is_ipv4() { 2 } else { 10 });
        let flags = match self.patience {
            Some(_) => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None => SocketFlags::CLOEXEC,
        };
        let socket = socket_with(family, SocketType::STREAM, flags, self.protocol)
            .with_context(|| format!("a socket of {family:?} {:?}", self.protocol))?;
        if let Some(local) = self.from {
            sockopt::set_socket_reuseaddr(&socket, true)?;
            rustix::net::bind(&socket, &local).with_context(|| format!("binding to {local}"))?;
        }
        let begun = Instant::now();
        let answer = rustix::net::connect(&socket, &self.peer);
        let local = self.source(SocketAddr::try_from(getsockname(&socket)?)?)?;
        let ended = match (answer, self.patience) {
            (Ok(()), _) => Ended::Connected,
            (Err(Errno::INPROGRESS), Some(patience)) => wait(&socket, patience)?,
            (Err(error), _) => Ended::Failed(error),
        };
        drop(socket);
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        Ok(Try { ended, local, tid, took: begun.elapsed() })
    }
}

impl Connect {
    /// The socket's own address. A blocking connect that failed has lost it and kept the port.
    fn source(&self, local: SocketAddr) -> Result<SocketAddr> {
        if !local.ip().is_unspecified() {
            return Ok(local);
        }
        let probe = UdpSocket::bind((local.ip(), 0))?;
        match probe.connect(self.peer) {
            Ok(()) => Ok(SocketAddr::new(probe.local_addr()?.ip(), local.port())),
            // No route, then: there never was an address.
            Err(_) => Ok(local),
        }
    }
}

fn wait(socket: &OwnedFd, patience: Duration) -> Result<Ended> {
    let limit = Timespec::try_from(patience)?;
    let ready = poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&limit))?;
    Ok(match (ready, sockopt::socket_error(socket)?) {
        (0, _) => Ended::GaveUp,
        (_, Ok(())) => Ended::Connected,
        (_, Err(error)) => Ended::Failed(error),
    })
}

/// A listener on a free port of `address`.
pub fn listen(address: &str) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((address, 0)).with_context(|| format!("listening on {address}"))?;
    let peer = listener.local_addr()?;
    Ok((listener, peer))
}

/// A listener on 127.0.0.1 with room for `backlog` connections that nobody has accepted, and one more.
pub fn listen_with_backlog(backlog: i32) -> Result<(Socket, SocketAddr)> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    listener.listen(backlog)?;
    let peer = listener.local_addr()?.as_socket().context("not an internet address")?;
    Ok((listener, peer))
}

/// A peer that exists and never answers: a listener whose filter drops every packet.
///
/// IPv6 over `lo` has no silent networks as IPv4 has; it answers with an ICMPv6 error.
pub fn listen_deaf(address: IpAddr) -> Result<(Socket, SocketAddr)> {
    let anywhere = SocketAddr::new(address, 0);
    let listener = Socket::new(Domain::for_address(anywhere), Type::STREAM, None)?;
    listener.attach_filter(&[DROP_ALL]).context("attaching a packet filter")?;
    listener.bind(&anywhere.into()).with_context(|| format!("binding to {address}"))?;
    listener.listen(1)?;
    let peer = listener.local_addr()?.as_socket().context("not an internet address")?;
    Ok((listener, peer))
}
