//! Reading what a trace told: events in order, attempts newest first.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};

use super::{App, problem::Problem, traces::find};
use crate::trace::{AttemptJson, Batch};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/traces/{id}/events", get(events)).route("/traces/{id}/attempts", get(attempts))
}

const DEFAULT_LIMIT: usize = 200;
const MAX_LIMIT: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

async fn events(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    query: Result<Query<EventsQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_query(&error.body_text()))?;
    let limit = limit(query.limit)?;
    let from = (query.after > 0).then(|| query.after.saturating_add(1));
    let batch = find(&app, &id)?.read(from, limit).map_err(|expired| Problem::expired(expired.first_seq))?;
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    Ok(if accepted.contains(NDJSON) { lines(&batch) } else { document(&batch) })
}

const NDJSON: &str = "application/x-ndjson";

/// One event a line.
fn lines(batch: &Batch) -> Response {
    let body: String = batch.events.iter().flat_map(|event| [event, "\n"]).collect();
    ([(header::CONTENT_TYPE, NDJSON)], body).into_response()
}

/// One document. The events are JSON already, so it is put together, not serialised.
fn document(batch: &Batch) -> Response {
    let Batch { events, next_after, first_seq } = batch;
    let events = events.join(",");
    let body = format!(r#"{{"events":[{events}],"next_after":{next_after},"first_seq":{first_seq}}}"#);
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        _ => Err(Problem::bad_query("limit must be from 1 to 1000")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttemptsQuery {
    before: Option<u64>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct AttemptsPage {
    attempts: Vec<AttemptJson>,
    next_before: Option<u64>,
}

async fn attempts(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    query: Result<Query<AttemptsQuery>, QueryRejection>,
) -> Result<Json<AttemptsPage>, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_query(&error.body_text()))?;
    let (attempts, next_before) = find(&app, &id)?.attempts(query.before, limit(query.limit)?);
    Ok(Json(AttemptsPage { attempts, next_before }))
}
