//! HTTP on one connection.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderValue, header::CONNECTION},
    response::Response,
};
use hyper::{
    Request,
    body::{Body as _, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
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
    let is_read = Arc::new(AtomicBool::new(request.body().is_end_stream()));
    let watched = Arc::clone(&is_read);
    let body = |body| Body::new(TimeoutBody::new(READ_BODY, Watched { body, is_read: watched }));
    let mut response = router.oneshot(request.map(body)).await?;
    if !is_read.load(Ordering::Relaxed) {
        // The connection ends here, since the rest of the body would stand before the next request. Untold, the client
        // would send that, and never know what became of it.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// A request's body that notes when all of it has been read.
struct Watched {
    body: Incoming,
    is_read: Arc<AtomicBool>,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.is_read.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
