//! The page, its assets, and the health checks: all that needs no token, and shows nothing that does.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use synscope_web::{Page, asset, index};

use super::{App, problem::Problem};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(page))
        .route("/assets/{*path}", get(assets))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
}

/// Whether traces can be started: the kernel lets us, and the server is not shutting down.
async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    if app.shutdown.is_cancelled() {
        return Err(Problem::not_ready("the server is shutting down", "start it again"));
    }
    match app.manager.kernel_error() {
        Some(error) => Err(Problem::not_ready(&error.to_string(), error.remedy())),
        None => Ok("ready"),
    }
}

async fn page() -> Html<String> {
    let host = synscope_tracer::host::name();
    Html(index(&Page { version: env!("CARGO_PKG_VERSION"), host: &host }))
}

/// Paths carry the hash of all assets, so an answer is true for ever.
async fn assets(Path(path): Path<String>) -> Response {
    match asset(&path) {
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.content_type),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (StatusCode::OK, headers, asset.bytes).into_response()
        }
        None => Problem::no_such_path().into_response(),
    }
}
