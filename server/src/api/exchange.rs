//! Traces as files: export and import. Neither is done at once, so neither has the time limit of other calls.

use std::{sync::Arc, time::Duration};

use aide::{
    axum::{
        ApiRouter,
        routing::{get_with, post_with},
    },
    openapi::{ReferenceOr, RequestBody},
};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{Stream, StreamExt as _};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    App,
    extract::{Named, Params},
    openapi::media,
    problem::Problem,
};
use crate::{
    export::Format,
    history::{Import, ImportError},
    request::TraceRequest,
    token::random_hex,
    trace::{CreateError, Trace, TraceJson},
};

pub(super) fn router() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route(
            "/traces/{id}/export",
            get_with(export, |call| {
                call.id("export").summary("The whole trace as a file").response_with::<200, (), _>(
                    |mut response| {
                        response
                            .inner()
                            .content
                            .extend(media(Format::ALL.map(|format| format.media_type().0)));
                        response.description("The file")
                    },
                )
            }),
        )
        .api_route(
            "/traces/import",
            post_with(import, |mut call| {
                let content = media([NDJSON]).collect();
                let file = RequestBody { content, required: true, ..RequestBody::default() };
                call.inner_mut().request_body = Some(ReferenceOr::Item(file));
                call.id("import")
                    .summary("A trace from NDJSON, as an export gives it")
                    .response::<201, Json<TraceJson>>()
            }),
        )
}

const NDJSON: &str = "application/x-ndjson";
/// The largest file that import takes.
const MAX_FILE: usize = 256 << 20;
/// How long the rest of a refused file is read.
const DRAIN_FOR: Duration = Duration::from_secs(5);

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(deny_unknown_fields)]
struct ExportQuery {
    #[serde(default)]
    format: Format,
}

async fn export(
    Named(trace): Named,
    Params(ExportQuery { format }): Params<ExportQuery>,
) -> Result<Response, Problem> {
    let (media_type, ending) = format.media_type();
    let name = format!("attachment; filename=\"synscope-{}.{ending}\"", trace.id);
    let headers = [(header::CONTENT_TYPE, media_type.to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(format.pieces(trace))).into_response())
}

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(deny_unknown_fields)]
struct ImportQuery {
    /// Shown to people.
    name: Option<String>,
}

async fn import(
    State(app): State<Arc<App>>,
    Params(ImportQuery { name }): Params<ImportQuery>,
    request: Request,
) -> Result<Response, Problem> {
    TraceRequest { name: name.clone(), ..TraceRequest::default() }.check()?;
    if !is_declared_as_ndjson(request.headers()) {
        return Err(Problem::not_declared_as_ndjson());
    }
    let id = random_hex(6).map_err(CreateError::Io)?;
    let history = app.manager.history();
    let import =
        Import::begin(history, id, name).ok_or_else(|| Problem::nothing_is_kept(&history.status()))?;
    let trace = read(import, request.into_body()).await?;
    let location = format!("/api/v1/traces/{}", trace.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(trace.to_json())).into_response())
}

async fn read(mut import: Import, body: Body) -> Result<Arc<Trace>, Problem> {
    let mut body = body.into_data_stream();
    let mut size = 0;
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|error| Problem::unread_body(&error.to_string()))?;
        size += bytes.len();
        if size > MAX_FILE {
            return Err(Problem::too_large(MAX_FILE));
        }
        if let Err(error) = import.take(&bytes).await {
            drain(body).await;
            return Err(ImportError::from(error).into());
        }
    }
    Ok(import.finish().await?)
}

/// Reads and forgets what still comes of a file that is refused: whoever writes into a connection that was closed may
/// never see the answer.
async fn drain(body: impl Stream<Item = Result<Bytes, axum::Error>>) {
    let mut left = MAX_FILE;
    let rest = body.take_while(|bytes| {
        left = left.saturating_sub(bytes.as_ref().map_or(usize::MAX, Bytes::len));
        std::future::ready(left > 0)
    });
    let _ = timeout(DRAIN_FOR, rest.for_each(|_| std::future::ready(()))).await;
}

fn is_declared_as_ndjson(headers: &HeaderMap) -> bool {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = declared.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case(NDJSON)
}
