//! HTTP on one connection.

use std::{convert::Infallible, pin::pin, time::Duration};

use axum::{Router, body::Body, response::Response};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tower_http::timeout::TimeoutBody;

use super::Connection;

/// A request's head must be complete so long after the connection was made, or after the answer before it; also how
/// long an idle connection is kept.
pub(super) const READ_HEAD: Duration = Duration::from_secs(15);
/// Between two pieces of a request's body may be so much time.
const READ_BODY: Duration = Duration::from_secs(20);
/// The request's line and headers have so many bytes at most.
const MAX_HEAD: usize = 16 << 10;
/// Headers of one request.
const MAX_HEADERS: usize = 64;

/// Answers the requests of one connection until it ends, or until the request that is under way when `stopping`.
pub(crate) async fn converse<S>(
    stream: S,
    connection: Connection,
    router: Router,
    stopping: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = connection.peer.clone();
    let answer =
        service_fn(move |request: Request<Incoming>| answer(router.clone(), connection.clone(), request));
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_HEAD)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    let mut conversation = pin!(conversation);
    let ended = tokio::select! {
        ended = conversation.as_mut() => ended,
        () = stopping.cancelled() => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, "connection ended: {error}");
    }
}

async fn answer(
    router: Router,
    connection: Connection,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(connection);
    router.oneshot(request.map(|body| Body::new(TimeoutBody::new(READ_BODY, body)))).await
}
