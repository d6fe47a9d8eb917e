//! `/metrics`, for Prometheus and what speaks like it.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::App;
use crate::metrics::{self, Format, Now};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/metrics", get(figures))
}

async fn figures(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    let format = Format::accepted(accepted);
    let (running, ended) = app.manager.count();
    let now = Now { running, ended, readers: app.streams.len() };
    let text = metrics::text(format, &app.manager.totals(), &now);
    ([(header::CONTENT_TYPE, format.content_type())], text).into_response()
}
