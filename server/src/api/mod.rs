//! The HTTP side: routes, and what every request passes before it reaches one.

mod conditional;
mod deadline;
mod events;
mod exchange;
mod extract;
mod filter;
mod follow;
mod guard;
mod idempotency;
mod metrics;
mod openapi;
mod page;
mod plain;
mod problem;
mod room;
mod stream;
mod system;
mod traces;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aide::axum::ApiRouter;
use axum::{Router, middleware};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::trace::TraceLayer;

use crate::{rate::Rate, token::Tokens, trace::Manager};
pub(crate) use guard::Failures;
pub(crate) use idempotency::Keys;
use problem::Problem;
pub(crate) use system::Examined;

/// What every handler may use.
pub(crate) struct App {
    pub(crate) manager: Manager,
    pub(crate) tokens: Tokens,
    /// Wrong tokens, by who showed them.
    pub(crate) failures: Failures,
    /// How often a trace may be started.
    pub(crate) starts: Mutex<Rate>,
    /// Names by which the server is reached, besides its address and the loopback's.
    pub(crate) hosts: Vec<String>,
    /// Changes with every start of the server, so that readers know that sequence numbers began anew.
    pub(crate) epoch: String,
    /// Cancelled when the server shuts down.
    pub(crate) shutdown: CancellationToken,
    /// What was found when this host was examined last.
    pub(crate) examined: Examined,
    /// What was created with which Idempotency-Key.
    pub(crate) keys: Keys,
    /// WebSocket tasks, which outlive the request that made them.
    pub(crate) streams: TaskTracker,
}

impl App {
    /// Counts the start of a trace, or says after which time there may be another.
    fn take_start(&self) -> Result<(), Duration> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }
}

/// The calls that are answered at once, with a document.
fn documents() -> ApiRouter<Arc<App>> {
    traces::router().merge(events::router()).merge(filter::router()).merge(system::router())
}

/// Every route of the server.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let api = documents()
        .layer(middleware::from_fn(conditional::tag_documents))
        .layer(middleware::from_fn(deadline::limit_time))
        .merge(stream::router())
        .merge(exchange::router())
        .layer(middleware::from_fn_with_state(Arc::clone(app), guard::require_token));
    let api = Router::from(api);
    let metrics =
        metrics::router().layer(middleware::from_fn_with_state(Arc::clone(app), guard::require_token));
    Router::new()
        .nest("/api/v1", api.fallback(async || Problem::no_such_path()))
        .merge(page::router())
        .merge(plain::router())
        .merge(metrics)
        .fallback(async || Problem::no_such_path())
        .method_not_allowed_fallback(async || Problem::wrong_method())
        .layer(middleware::from_fn_with_state(Arc::clone(app), guard::require_own_host_and_origin))
        .layer(middleware::from_fn(room::require_room))
        .layer(middleware::map_response(guard::add_security_headers))
        // Paths and status only: headers carry the token.
        .layer(TraceLayer::new_for_http())
        .with_state(Arc::clone(app))
}
