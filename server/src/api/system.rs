//! What this host can do.

use std::sync::Arc;

use axum::{Json, Router, routing::get};

use super::App;
use crate::commands::doctor::{Report, report};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/capabilities", get(capabilities))
}

async fn capabilities() -> Json<Report> {
    // Loads the programs once to see that it works: some milliseconds.
    Json(tokio::task::block_in_place(report))
}
