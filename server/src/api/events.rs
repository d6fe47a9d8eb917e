//! Reading what a trace told: events in order, attempts newest first.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde::Deserialize;

use super::{App, problem::Problem, traces::find};
use crate::{attempt::Attempt, trace::Batch};

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
    json(format!(r#"{{"events":[{events}],"next_after":{next_after},"first_seq":{first_seq}}}"#))
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
    /// Terms of the filter language.
    #[serde(default)]
    filter: String,
    before: Option<u64>,
    limit: Option<usize>,
}

async fn attempts(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    query: Result<Query<AttemptsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_query(&error.body_text()))?;
    let filter = query.filter.parse().map_err(|error| Problem::bad_filter(StatusCode::BAD_REQUEST, error))?;
    let (trace, limit) = (find(&app, &id)?, limit(query.limit)?);
    let (attempts, next_before) =
        tokio::task::block_in_place(|| trace.attempts(&filter, query.before, limit));
    let attempts: Vec<_> = attempts.iter().map(Attempt::to_json).collect();
    let next_before = next_before.map_or_else(|| "null".into(), |before| before.to_string());
    Ok(json(format!(r#"{{"attempts":[{}],"next_before":{next_before}}}"#, attempts.join(","))))
}

fn json(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
