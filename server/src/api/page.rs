//! The page, its assets, and the health check: all that needs no token, and shows nothing that does.

use std::sync::Arc;

use axum::{
    Router,
    extract::Path,
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
}

async fn page() -> Html<String> {
    let host = synscope_tracer::host::name();
    Html(index(&Page { version: env!("CARGO_PKG_VERSION"), host: &host, recent: None }))
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
