//! What this host can do, and what this API is.

use std::sync::Arc;

use aide::axum::{ApiRouter, routing::get_with};
use axum::{
    Json,
    http::header,
    response::{IntoResponse as _, Response},
    routing::get,
};

use super::{
    App,
    extract::{Nothing, Params},
    openapi,
    problem::Problem,
};
use crate::commands::doctor::{Report, report};

pub(super) fn router() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/capabilities",
            get_with(capabilities, |call| call.id("capabilities").summary("What this host allows")),
        )
        .route("/openapi.json", get(description))
}

async fn capabilities(_: Params<Nothing>) -> Result<Json<Report>, Problem> {
    // Loads the programs once to see that it works: some milliseconds.
    Ok(Json(tokio::task::block_in_place(report)))
}

async fn description(_: Params<Nothing>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi::document()).into_response()
}
