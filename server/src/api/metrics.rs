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
use crate::{
    metrics::{self, Family, Format, Now},
    otlp::Outlet,
};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/metrics", get(figures))
}

async fn figures(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    let format = Format::accepted(accepted);
    let text = metrics::text(format, &app.figures());
    ([(header::CONTENT_TYPE, format.content_type())], text).into_response()
}

impl App {
    /// All figures, as of now.
    pub(crate) fn figures(&self) -> Vec<Family> {
        let (running, ended) = self.manager.count();
        let (spans_sent, spans_lost) = self.manager.outlet().map(Outlet::counts).unwrap_or_default();
        let history = self.manager.history();
        let now = Now {
            running,
            ended,
            readers: self.streams.len(),
            history: history.status().state,
            history_queue: history.queued_bytes(),
            spans_sent,
            spans_lost,
        };
        metrics::families(&self.manager.totals(), &now)
    }
}
