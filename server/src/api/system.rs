//! What this host can do, and what this API is.

use std::sync::Arc;

use aide::axum::{ApiRouter, routing::get_with};
use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
    routing::get,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    App,
    extract::{Nothing, Params},
    openapi,
    problem::Problem,
};
use crate::{
    commands::doctor::{Report, report},
    history::Status,
};

pub(super) fn router() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/capabilities",
            get_with(capabilities, |call| call.id("capabilities").summary("What this host allows")),
        )
        .route("/openapi.json", get(description))
}

#[derive(JsonSchema, Serialize)]
struct Capabilities {
    #[serde(flatten)]
    report: Report,
    history: Status,
}

async fn capabilities(
    State(app): State<Arc<App>>,
    _: Params<Nothing>,
) -> Result<Json<Capabilities>, Problem> {
    // Loads the programs once to see that it works: some milliseconds.
    let report = tokio::task::block_in_place(report);
    Ok(Json(Capabilities { report, history: app.manager.history().status() }))
}

async fn description(_: Params<Nothing>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi::document()).into_response()
}
