//! Reading what a trace told: events in order, attempts newest first.

use std::sync::Arc;

use aide::axum::{ApiRouter, routing::get_with};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    App,
    extract::{Named, Params},
    follow::{self, Form},
    openapi::media,
    problem::Problem,
};
use crate::{
    attempt::{Attempt, Shown},
    trace::{Batch, Follower, Numbered},
};

pub(super) fn router() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/traces/{id}/events",
            get_with(events, |call| {
                call.id("events")
                    .summary("What a trace told, in order")
                    .response_with::<200, Json<EventsPage<'_>>, _>(|mut response| {
                        let streams = [Form::Lines, Form::EventStream].map(Form::content_type);
                        response.inner().content.extend(media(streams));
                        response
                    })
                    .response_with::<204, (), _>(|response| {
                        response.description("An EventSource has seen everything, and need not come back")
                    })
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

const DEFAULT_LIMIT: usize = 200;
const MAX_LIMIT: usize = 1000;

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// The last sequence number that is known; 0 for none. `Last-Event-ID` goes before it.
    #[serde(default)]
    after: u64,
    /// Without it, 200; all, when following.
    #[schemars(range(min = 1, max = MAX_LIMIT))]
    limit: Option<usize>,
    /// Whether to wait for what is told later.
    #[serde(default)]
    follow: Switch,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[schemars(inline)]
enum Switch {
    #[default]
    #[serde(rename = "0")]
    Off,
    #[serde(rename = "1")]
    On,
}

async fn events(
    State(app): State<Arc<App>>,
    Named(trace): Named,
    Params(query): Params<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = query.limit.map(limit).transpose()?;
    let last_seen = follow::last_event_id(&headers)?;
    let after = last_seen.unwrap_or(query.after);
    let from = (after > 0).then(|| after.saturating_add(1));
    let form = Form::accepted(&headers);
    if form != Form::EventStream && query.follow == Switch::Off {
        let batch = trace.read(from, limit.unwrap_or(DEFAULT_LIMIT))?;
        return Ok(if form == Form::Lines { lines(&batch) } else { document(&batch) });
    }
    if form == Form::Document {
        return Err(Problem::bad_query("follow: a JSON document has an end; accept application/x-ndjson"));
    }
    trace.read(from, 1)?;
    if last_seen.is_some_and(|last| !trace.is_running() && last + 1 >= trace.range().next_seq) {
        // An EventSource comes back after every end, until it is told not to.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let follower = Follower::new(trace, after, app.shutdown.clone());
    Ok(follow::respond(follower, form, limit))
}

/// One event a line.
fn lines(batch: &Batch) -> Response {
    let body: String = batch.events.iter().flat_map(|event| [event, "\n"]).collect();
    ([(header::CONTENT_TYPE, Form::Lines.content_type())], body).into_response()
}

/// One document. The events are JSON already, so it is put together, not serialised.
fn document(batch: &Batch) -> Response {
    let Batch { events, next_after, first_seq } = batch;
    let events = events.join(",");
    json(format!(r#"{{"events":[{events}],"next_after":{next_after},"first_seq":{first_seq}}}"#))
}

fn default_limit() -> usize {
    DEFAULT_LIMIT
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
