//! Where requests come in: sockets, TLS, and the limits that hold before anything is known about a client.

mod accept;
mod address;
mod converse;
mod stall;
mod tls;
mod unix;

use std::{fmt, io, net, os::unix::net::UnixListener, path::PathBuf, sync::Arc};

use tokio_rustls::rustls::ServerConfig;

pub(crate) use address::Address;
#[cfg(fuzzing)]
pub(crate) use converse::converse;

use crate::{Failure, cli::ListenArgs};

/// Connections that may be open at once. What comes beyond is answered with 503 and closed.
pub(crate) const MAX_CONNECTIONS: usize = 512;

/// A bound socket, and how it is spoken to.
pub(crate) struct Listener {
    socket: Socket,
    tls: Option<Arc<ServerConfig>>,
}

enum Socket {
    Tcp(net::TcpListener),
    Unix(UnixListener, PathBuf),
}

/// The connection that a request came by.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) peer: Peer,
    /// The address that the client connected to; none for a Unix socket.
    pub(crate) local: Option<net::SocketAddr>,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Tcp(net::SocketAddr),
    Unix { uid: u32, pid: Option<u32> },
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix { uid, pid: Some(pid) } => write!(formatter, "uid {uid}, pid {pid}"),
            Self::Unix { uid, pid: None } => write!(formatter, "uid {uid}"),
        }
    }
}

impl Listener {
    /// Binds the socket and reads the certificate. Called before privileges are dropped and threads started.
    pub(crate) fn bind(args: &ListenArgs) -> Result<Self, Failure> {
        let tls = match (&args.tls_cert, &args.tls_key) {
            (Some(certificate), Some(key)) => Some(tls::load(certificate, key)?),
            _ => None,
        };
        let socket = match &args.listen {
            Address::Tcp(address) => {
                refuse_unprotected(*address, tls.is_some(), args.allow_remote)?;
                Socket::Tcp(bind_tcp(*address)?)
            }
            Address::Unix(_) if tls.is_some() => {
                let problem = "a Unix socket speaks no TLS";
                return Err(Failure::new(
                    problem,
                    "leave --tls-cert and --tls-key out: it never leaves the host",
                ));
            }
            Address::Unix(path) => Socket::Unix(unix::bind(path)?, path.clone()),
        };
        Ok(Self { socket, tls })
    }

    /// Where it listens, as a browser takes it: a port of 0 is resolved.
    pub(crate) fn url(&self) -> io::Result<String> {
        Ok(match &self.socket {
            Socket::Tcp(listener) => format!("{}://{}/", self.scheme(), listener.local_addr()?),
            Socket::Unix(_, path) => format!("unix:{}", path.display()),
        })
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// Beyond loopback, everything that this host's processes do and the token that shows it would pass the network.
fn refuse_unprotected(address: net::SocketAddr, tls: bool, allow_remote: bool) -> Result<(), Failure> {
    if address.ip().to_canonical().is_loopback() || tls && allow_remote {
        return Ok(());
    }
    let problem = format!("{address} is not a loopback address");
    let remedy = match (tls, allow_remote) {
        (false, false) => {
            "listen on 127.0.0.1 and reach it through an SSH tunnel; or speak TLS with --tls-cert and --tls-key, and \
             say --allow-remote"
        }
        (false, true) => "--allow-remote needs TLS: give --tls-cert and --tls-key",
        _ => "say --allow-remote if other hosts are to reach it; the token is then all that keeps them out",
    };
    Err(Failure::new(problem, remedy))
}

fn bind_tcp(address: net::SocketAddr) -> Result<net::TcpListener, Failure> {
    net::TcpListener::bind(address).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another process has this port: choose another with --listen 127.0.0.1:PORT"
            }
            _ => "choose another address with --listen",
        };
        Failure::new(format!("cannot listen on {address}: {error}"), remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_loopback_only_with_tls_and_on_purpose() {
        let may = |address: &str, tls, remote| {
            refuse_unprotected(address.parse().unwrap(), tls, remote).map_err(|failure| failure.remedy)
        };
        for address in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(may(address, false, false), Ok(()), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
            assert_eq!(may(address, true, true), Ok(()), "{address}");
            assert!(may(address, false, true).unwrap_err().contains("--tls-cert"));
            assert!(may(address, true, false).unwrap_err().contains("--allow-remote"));
            assert!(may(address, false, false).is_err());
        }
    }
}
