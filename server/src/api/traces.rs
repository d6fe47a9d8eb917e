//! The traces resource.

use std::sync::Arc;

use aide::{
    axum::{
        ApiRouter,
        routing::{get_with, post_with},
    },
    openapi::ReferenceOr,
    transform::TransformOperation,
};
use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    App,
    extract::{Named, Nothing, Params},
    idempotency::{Key, Known},
    problem::Problem,
};
use crate::{
    filter::only_kernel_terms,
    request::TraceRequest,
    trace::{CreateError, EndReason, Trace, TraceJson},
};

pub(super) fn router() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/traces",
            post_with(create, describe_create)
                .get_with(list, |call| call.id("listTraces").summary("All traces, newest first")),
        )
        .api_route(
            "/traces/{id}",
            get_with(show, |call| call.id("trace").summary("State, filter and counters")).delete_with(
                delete,
                |call| {
                    call.id("deleteTrace")
                        .summary("Stops a trace, if need be, and discards what it told")
                        .response::<204, ()>()
                },
            ),
        )
        .api_route(
            "/traces/{id}/stop",
            post_with(stop, |call| {
                call.id("stopTrace").summary("Unloads the probes; again: the same answer")
            }),
        )
}

fn describe_create(call: TransformOperation<'_>) -> TransformOperation<'_> {
    let mut call = call
        .id("createTrace")
        .summary("Starts a trace; its probes are attached when the answer arrives")
        .input::<Json<TraceRequest>>()
        .response::<201, Json<TraceJson>>();
    if let Some(ReferenceOr::Item(body)) = &mut call.inner_mut().request_body {
        body.required = false;
    }
    call
}

/// The largest body that any call takes.
const MAX_BODY: usize = 64 << 10;

async fn create(
    State(app): State<Arc<App>>,
    _: Params<Nothing>,
    Key(key): Key,
    request: Request,
) -> Result<Response, Problem> {
    let mut document = read_json(request).await?;
    read_filter(&mut document)?;
    let slot = match key {
        None => None,
        Some(key) => match app.keys.look_up(key, &document, |id| app.manager.get(id)).await? {
            Known::Trace(trace) => return Ok(created(&trace)),
            Known::Nothing(slot) => Some(slot),
        },
    };
    let request = TraceRequest::from_json(document)?;
    if app.shutdown.is_cancelled() {
        return Err(CreateError::ShuttingDown.into());
    }
    app.take_start().map_err(Problem::too_many_starts)?;
    // Loading keeps the kernel's verifier busy for some milliseconds: not on a thread that serves others.
    let creating = tokio::task::spawn_blocking({
        let app = Arc::clone(&app);
        move || app.manager.create(request)
    });
    let trace = creating.await.map_err(|error| CreateError::Io(error.into()))??;
    if let Some(slot) = slot {
        slot.made(&trace);
    }
    Ok(created(&trace))
}

fn created(trace: &Trace) -> Response {
    let location = format!("/api/v1/traces/{}", trace.id);
    (StatusCode::CREATED, [(header::LOCATION, location)], Json(trace.to_json())).into_response()
}

/// A filter that is a text of the filter language becomes the object that it stands for.
fn read_filter(document: &mut Value) -> Result<(), Problem> {
    let Some(filter @ Value::String(_)) = document.get_mut("filter") else { return Ok(()) };
    let request = filter.as_str().unwrap_or_default().parse().and_then(only_kernel_terms);
    let request = request.map_err(|error| Problem::bad_filter(StatusCode::UNPROCESSABLE_ENTITY, error))?;
    *filter = json!(request);
    Ok(())
}

/// An empty body stands for an empty object.
async fn read_json(request: Request) -> Result<Value, Problem> {
    let (parts, body) = request.into_parts();
    let declared = is_declared_as_json(&parts.headers);
    let bytes = bounded(body).await?;
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    if !declared {
        return Err(Problem::not_declared_as_json());
    }
    serde_json::from_slice(&bytes).map_err(|error| Problem::bad_json(&error.to_string()))
}

async fn bounded(body: Body) -> Result<Vec<u8>, Problem> {
    let (mut body, mut bytes) = (body.into_data_stream(), Vec::new());
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| Problem::unread_body(&error.to_string()))?);
        if bytes.len() > MAX_BODY {
            return Err(Problem::too_large(MAX_BODY));
        }
    }
    Ok(bytes)
}

fn is_declared_as_json(headers: &HeaderMap) -> bool {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = declared.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("application/json")
}

#[derive(JsonSchema, Serialize)]
struct TraceList {
    traces: Vec<TraceJson>,
}

async fn list(State(app): State<Arc<App>>, _: Params<Nothing>) -> Result<Json<TraceList>, Problem> {
    Ok(Json(TraceList { traces: app.manager.list()?.iter().map(|trace| trace.to_json()).collect() }))
}

async fn show(Named(trace): Named, _: Params<Nothing>) -> Result<Json<TraceJson>, Problem> {
    Ok(Json(trace.to_json()))
}

async fn stop(Named(trace): Named, _: Params<Nothing>) -> Result<Json<TraceJson>, Problem> {
    trace.stop(EndReason::Requested).await;
    Ok(Json(trace.to_json()))
}

async fn delete(
    State(app): State<Arc<App>>,
    Named(trace): Named,
    _: Params<Nothing>,
) -> Result<StatusCode, Problem> {
    // Somebody else may have deleted it in the meantime.
    let is_deleted = app.manager.delete(&trace.id).await?;
    is_deleted.then_some(StatusCode::NO_CONTENT).ok_or_else(|| Problem::no_such_trace(&trace.id))
}
