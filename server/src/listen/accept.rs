//! The accept loop.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Connection, Listener, MAX_CONNECTIONS, Peer, Socket,
    converse::{READ_HEAD, converse},
    stall::Bounded,
    unix,
};

/// The kernel's queue is full of what cannot be accepted (EMFILE, ENOBUFS): look again after this time.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);
/// Refusals are logged this often at most.
const TELL_REFUSALS: Duration = Duration::from_secs(10);
/// What is said to a connection beyond the bound. It fits into any socket's buffer.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/problem+json\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 193\r\n\r\n\
    {\"type\":\"urn:synscope:too-many-connections\",\"title\":\"Too many connections\",\"status\":503,\
    \"detail\":\"as many connections are open as may\",\"remedy\":\"close those that are not needed, and try again\"}";

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

enum Source {
    Tcp(TcpListener),
    Unix(UnixListener, std::path::PathBuf),
}

impl Listener {
    /// Accepts until `stopping`, then lets every request that is under way come to its end.
    pub(crate) async fn serve(self, router: Router, stopping: CancellationToken) -> io::Result<()> {
        let scheme = self.scheme();
        let tls = self.tls.map(TlsAcceptor::from);
        let source = Source::of(self.socket)?;
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = TaskTracker::new();
        let mut refusals = Refusals::default();
        loop {
            let accepted = tokio::select! {
                accepted = source.accept(scheme) => accepted,
                () = stopping.cancelled() => break,
            };
            let (stream, connection) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                refusals.count();
                refuse(&stream, tls.is_some());
                continue;
            };
            let (router, stopping, tls) = (router.clone(), stopping.clone(), tls.clone());
            connections.spawn(async move {
                match stream {
                    Stream::Unix(stream) => {
                        converse(Bounded::new(stream, place), connection, router, stopping).await;
                    }
                    Stream::Tcp(stream) => welcome(stream, tls, place, connection, router, stopping).await,
                }
            });
        }
        drop(source);
        connections.close();
        connections.wait().await;
        Ok(())
    }
}

/// Shakes hands where TLS is spoken, in the time that a request's head may take.
async fn welcome(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    place: OwnedSemaphorePermit,
    connection: Connection,
    router: Router,
    stopping: CancellationToken,
) {
    // Small messages are not worth waiting for more.
    let _ = stream.set_nodelay(true);
    let stream = Bounded::new(stream, place);
    let Some(tls) = tls else { return converse(stream, connection, router, stopping).await };
    match timeout(READ_HEAD, tls.accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, connection, router, stopping).await,
        Ok(Err(error)) => tracing::debug!(peer = %connection.peer, "no TLS: {error}"),
        Err(_) => tracing::debug!(peer = %connection.peer, "TLS was not begun in time"),
    }
}

impl Source {
    fn of(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Self::Tcp(TcpListener::from_std(listener)?)
            }
            Socket::Unix(listener, path) => {
                listener.set_nonblocking(true)?;
                Self::Unix(UnixListener::from_std(listener)?, path)
            }
        })
    }

    async fn accept(&self, scheme: &'static str) -> io::Result<(Stream, Connection)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let local = stream.local_addr().ok();
                Ok((Stream::Tcp(stream), Connection { peer: Peer::Tcp(peer), local, scheme }))
            }
            Self::Unix(listener, path) => {
                let (stream, _) = listener.accept().await?;
                let peer = unix::admit(path, &stream)?;
                tracing::debug!(%peer, "connected");
                Ok((Stream::Unix(stream), Connection { peer, local: None, scheme }))
            }
        }
    }
}

/// Errors of one connection are its own; a lack of descriptors or memory ends some time.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, PermissionDenied};
    match error.kind() {
        ConnectionAborted | ConnectionRefused | ConnectionReset => {}
        PermissionDenied => tracing::warn!(target: "audit", "refused a connection: {error}"),
        _ => {
            tracing::warn!("cannot accept connections: {error}");
            sleep(ACCEPT_AGAIN).await;
        }
    }
}

/// Says so where that can be said without a handshake.
fn refuse(stream: &Stream, tls: bool) {
    // Nothing waits for the client: what its socket does not take at once it does not get.
    let _ = match stream {
        Stream::Tcp(stream) if !tls => stream.try_write(REFUSAL),
        Stream::Tcp(_) => Ok(0),
        Stream::Unix(stream) => stream.try_write(REFUSAL),
    };
}

#[derive(Default)]
struct Refusals {
    untold: u64,
    told: Option<Instant>,
}

impl Refusals {
    fn count(&mut self) {
        self.untold += 1;
        if self.told.is_none_or(|told| told.elapsed() >= TELL_REFUSALS) {
            tracing::warn!(connections = self.untold, "refused: {MAX_CONNECTIONS} connections are open");
            *self = Self { untold: 0, told: Some(Instant::now()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_a_complete_answer() {
        let text = std::str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], 503);
    }
}
