//! The traces resource.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{App, problem::Problem};
use crate::{
    filter::only_kernel_terms,
    request::TraceRequest,
    trace::{EndReason, Trace, TraceJson},
};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/traces", post(create).get(list))
        .route("/traces/{id}", get(show).delete(delete))
        .route("/traces/{id}/stop", post(stop))
}

/// The largest body that any call takes.
const MAX_BODY: usize = 64 << 10;

async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let mut document = read_json(request).await?;
    read_filter(&mut document)?;
    let request = TraceRequest::from_json(document)?;
    if app.shutdown.is_cancelled() {
        return Err(crate::trace::CreateError::ShuttingDown.into());
    }
    // Loading keeps the kernel's verifier busy for some milliseconds: not on a thread that serves others.
    let creating = tokio::task::spawn_blocking(move || app.manager.create(request));
    let trace = creating.await.map_err(|error| crate::trace::CreateError::Io(error.into()))??;
    let location = format!("/api/v1/traces/{}", trace.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(trace.to_json())).into_response())
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

async fn bounded(body: Body) -> Result<axum::body::Bytes, Problem> {
    axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| Problem::too_large(MAX_BODY))
}

fn is_declared_as_json(headers: &HeaderMap) -> bool {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = declared.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("application/json")
}

#[derive(Serialize)]
struct TraceList {
    traces: Vec<TraceJson>,
}

async fn list(State(app): State<Arc<App>>) -> Json<TraceList> {
    Json(TraceList { traces: app.manager.list().iter().map(|trace| trace.to_json()).collect() })
}

/// The trace of a path, or the problem that there is none.
pub(super) fn find(app: &App, id: &str) -> Result<Arc<Trace>, Problem> {
    app.manager.get(id).ok_or_else(|| Problem::no_such_trace(id))
}

async fn show(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<TraceJson>, Problem> {
    Ok(Json(find(&app, &id)?.to_json()))
}

async fn stop(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<TraceJson>, Problem> {
    let trace = find(&app, &id)?;
    trace.stop(EndReason::Requested).await;
    Ok(Json(trace.to_json()))
}

async fn delete(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    if app.manager.delete(&id).await { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::no_such_trace(&id)) }
}
