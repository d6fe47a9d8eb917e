//! Reading what a trace told: events in order, attempts newest first.

use std::sync::Arc;

use aide::axum::{ApiRouter, routing::get_with};
use axum::{
    Json,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    App,
    extract::{Named, Params},
    problem::Problem,
};
use crate::{
    attempt::{Attempt, Shown},
    trace::{Batch, Numbered},
};

pub(super) fn router() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/traces/{id}/events",
            get_with(events, |call| {
                call.id("events")
                    .summary("What a trace told, in order")
                    .response::<200, Json<EventsPage<'_>>>()
            }),
        )
        .api_route(
            "/traces/{id}/attempts",
            get_with(attempts, |call| {
                call.id("attempts")
                    .summary("The attempts that a trace told of, newest first")
                    .response::<200, Json<AttemptsPage<'_>>>()
            }),
        )
}

/// What `events` answers.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "the answer is put together from JSON")]
struct EventsPage<'a> {
    events: Vec<Numbered<'a>>,
    /// The `after` that continues.
    next_after: u64,
    /// The oldest one still held.
    first_seq: u64,
}

/// What `attempts` answers.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "the answer is put together from JSON")]
struct AttemptsPage<'a> {
    attempts: Vec<Shown<'a>>,
    /// The `before` that continues; null at the end.
    next_before: Option<u64>,
}

const MAX_LIMIT: usize = 1000;

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// The last sequence number that is known; 0 for none.
    #[serde(default)]
    after: u64,
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = MAX_LIMIT))]
    limit: usize,
}

async fn events(
    Named(trace): Named,
    Params(query): Params<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = limit(query.limit)?;
    let from = (query.after > 0).then(|| query.after.saturating_add(1));
    let batch = trace.read(from, limit)?;
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

fn default_limit() -> usize {
    200
}

fn limit(asked: usize) -> Result<usize, Problem> {
    match asked {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        _ => Err(Problem::bad_query("limit: must be from 1 to 1000")),
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(deny_unknown_fields)]
struct AttemptsQuery {
    /// Terms of the filter language.
    #[serde(default)]
    filter: String,
    /// Attempts that began before this event.
    before: Option<u64>,
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = MAX_LIMIT))]
    limit: usize,
}

async fn attempts(Named(trace): Named, Params(query): Params<AttemptsQuery>) -> Result<Response, Problem> {
    let filter = query.filter.parse().map_err(|error| Problem::bad_filter(StatusCode::BAD_REQUEST, error))?;
    let limit = limit(query.limit)?;
    let (attempts, next_before) =
        tokio::task::block_in_place(|| trace.attempts(&filter, query.before, limit))?;
    let attempts: Vec<_> = attempts.iter().map(Attempt::to_json).collect();
    let next_before = next_before.map_or_else(|| "null".into(), |before| before.to_string());
    Ok(json(format!(r#"{{"attempts":[{}],"next_before":{next_before}}}"#, attempts.join(","))))
}

fn json(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
