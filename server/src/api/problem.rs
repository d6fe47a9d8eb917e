//! Errors as RFC 9457 problem documents, mapped from the domain's errors in this one place.

use std::{num::NonZero, time::Duration};

use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{self, MediaType, Operation, SchemaObject},
};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    filter::{FilterError, Span},
    history::{HistoryError, ImportError, Status},
    request::FieldError,
    trace::{CreateError, ReadError},
};

const PROBLEM_JSON: &str = "application/problem+json";

/// One problem. `type` is stable; the words may get better.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: Box<str>,
    remedy: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<Box<str>>,
    /// The part of a filter that is to blame, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Span>,
    /// After so many seconds the same request may be answered otherwise.
    #[serde(skip)]
    retry_after: Option<NonZero<u16>>,
}

impl Problem {
    fn new(
        status: StatusCode,
        r#type: &'static str,
        title: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (detail, remedy) = (detail.into().into(), remedy.into().into());
        let status = status.as_u16();
        Self { r#type, title, status, detail, remedy, field: None, position: None, retry_after: None }
    }

    pub(crate) fn no_such_path() -> Self {
        let (detail, remedy) = ("there is nothing at this path", "see docs/reference.md for all calls");
        Self::new(StatusCode::NOT_FOUND, "urn:synscope:no-such-path", "No such path", detail, remedy)
    }

    pub(crate) fn wrong_method() -> Self {
        let (detail, remedy) = ("this path does not take this method", "see docs/reference.md for all calls");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "urn:synscope:wrong-method", "Wrong method", detail, remedy)
    }

    pub(crate) fn no_such_trace(id: &str) -> Self {
        let detail = format!("there is no trace `{id}`");
        let remedy = "GET /api/v1/traces lists them; ended traces are forgotten after some time";
        Self::new(StatusCode::NOT_FOUND, "urn:synscope:no-such-trace", "No such trace", detail, remedy)
    }

    pub(crate) fn unauthorized(detail: &str) -> Self {
        let remedy = "send `Authorization: Bearer TOKEN` with the token of the URL that the server printed";
        Self::new(StatusCode::UNAUTHORIZED, "urn:synscope:unauthorized", "Not authorised", detail, remedy)
    }

    pub(crate) fn foreign_host(host: &str) -> Self {
        let detail = format!("the Host `{host}` is not this server's");
        let remedy = "use the URL that the server printed";
        Self::new(
            StatusCode::MISDIRECTED_REQUEST,
            "urn:synscope:foreign-host",
            "Foreign host",
            detail,
            remedy,
        )
    }

    pub(crate) fn foreign_origin(origin: &str) -> Self {
        let detail = format!("the Origin `{origin}` is not this server's own");
        let remedy = "only the server's own page may call it from a browser";
        Self::new(StatusCode::FORBIDDEN, "urn:synscope:foreign-origin", "Foreign origin", detail, remedy)
    }

    pub(crate) fn read_only() -> Self {
        let detail = "this token may read, and change nothing";
        let remedy = "use the full token, which the server's operator has";
        Self::new(StatusCode::FORBIDDEN, "urn:synscope:read-only", "Read-only token", detail, remedy)
    }

    pub(crate) fn too_many_failures(wait: Duration) -> Self {
        let detail = "too many wrong tokens came from there";
        let remedy = "wait for as long as Retry-After says, and show the right one";
        let (kind, title) = ("urn:synscope:too-many-failures", "Too many failures");
        Self::new(StatusCode::TOO_MANY_REQUESTS, kind, title, detail, remedy).after(wait)
    }

    pub(crate) fn too_many_starts(wait: Duration) -> Self {
        let detail = "traces are started too often: each start keeps the kernel's verifier busy";
        let remedy =
            "wait for as long as Retry-After says, or start the server with a larger --starts-per-minute";
        let (kind, title) = ("urn:synscope:too-many-starts", "Too many starts");
        Self::new(StatusCode::TOO_MANY_REQUESTS, kind, title, detail, remedy).after(wait)
    }

    fn after(self, wait: Duration) -> Self {
        let seconds = u16::try_from(wait.as_secs()).unwrap_or(u16::MAX).saturating_add(1);
        Self { retry_after: NonZero::new(seconds), ..self }
    }

    pub(crate) fn bad_json(detail: &str) -> Self {
        let remedy = "send one JSON object, or nothing";
        Self::new(StatusCode::BAD_REQUEST, "urn:synscope:bad-json", "Not JSON", detail, remedy)
    }

    /// `detail` begins with the parameter, or has it in backticks when it is unknown.
    pub(crate) fn bad_query(detail: &str) -> Self {
        let remedy = "see docs/reference.md for this call's parameters";
        let problem =
            Self::new(StatusCode::BAD_REQUEST, "urn:synscope:bad-query", "Bad query", detail, remedy);
        let field = match detail.split_once('`').and_then(|(_, rest)| rest.split_once('`')) {
            Some((unknown, _)) if detail.contains(" field ") => Some(unknown),
            _ => detail.split_once(':').map(|(field, _)| field),
        };
        Self { field: field.map(Into::into), ..problem }
    }

    pub(crate) fn bad_key(longest: usize) -> Self {
        let detail = "this Idempotency-Key cannot be remembered";
        let remedy = format!("send 1 to {longest} visible ASCII characters, a UUID for example");
        let title = "Bad idempotency key";
        Self::new(StatusCode::BAD_REQUEST, "urn:synscope:bad-idempotency-key", title, detail, remedy)
    }

    pub(crate) fn key_of_another_request() -> Self {
        let detail = "another trace was created with this Idempotency-Key and another request";
        let remedy = "take a new key for each request, and the same one only to repeat it";
        let title = "Idempotency key used before";
        Self::new(StatusCode::CONFLICT, "urn:synscope:idempotency-key-used", title, detail, remedy)
    }

    pub(crate) fn not_ready(detail: &str, remedy: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "urn:synscope:not-ready", "Not ready", detail, remedy)
    }

    /// A filter that cannot be read, or not be used here.
    pub(crate) fn bad_filter(status: StatusCode, error: FilterError) -> Self {
        let FilterError { span, problem, remedy } = error;
        let problem = Self::new(status, "urn:synscope:bad-filter", "Unreadable filter", problem, remedy);
        Self { field: Some("filter".into()), position: Some(span), ..problem }
    }

    pub(crate) fn not_declared_as_json() -> Self {
        let (detail, remedy) = ("the body is not declared as JSON", "send `Content-Type: application/json`");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "urn:synscope:not-json", "Not JSON", detail, remedy)
    }

    pub(crate) fn not_declared_as_ndjson() -> Self {
        let (detail, remedy) =
            ("the body is not declared as NDJSON", "send `Content-Type: application/x-ndjson`");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "urn:synscope:not-ndjson", "Not NDJSON", detail, remedy)
    }

    pub(crate) fn unread_body(detail: &str) -> Self {
        let remedy = "send the whole body, without long breaks";
        Self::new(
            StatusCode::BAD_REQUEST,
            "urn:synscope:unread-body",
            "The body did not come",
            detail,
            remedy,
        )
    }

    /// Import needs a history to put the trace into.
    pub(crate) fn nothing_is_kept(history: &Status) -> Self {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        let (detail, remedy) = (&history.detail, &history.remedy);
        Self::new(unavailable, "urn:synscope:history", "History cannot be used", detail, remedy)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let detail = format!("the body is larger than {limit} bytes");
        let remedy = "send less: see docs/reference.md for the limits";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "urn:synscope:too-large", "Too large", detail, remedy)
    }

    pub(crate) fn not_a_websocket(status: StatusCode, detail: &str) -> Self {
        let remedy = "this path speaks WebSocket: connect with a WebSocket client, by GET over HTTP/1.1";
        Self::new(status, "urn:synscope:not-a-websocket", "Not a WebSocket", detail, remedy)
    }

    pub(crate) fn no_room() -> Self {
        let detail = "the host gives this server no more memory";
        let remedy = "stop traces, free memory, or raise the limit (RLIMIT_AS, vm.overcommit_memory)";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "urn:synscope:no-room", "No memory", detail, remedy).after(Duration::from_secs(9))
    }

    pub(crate) fn timed_out(limit: Duration) -> Self {
        let detail = format!("there was no answer within {} s", limit.as_secs());
        let remedy =
            "send the whole request at once; if it came as a whole, the host is overloaded: try again later";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "urn:synscope:timeout", "Timed out", detail, remedy)
    }

    pub(crate) fn expired(first_seq: u64) -> Self {
        let detail = format!("events before {first_seq} are not there any more");
        let remedy = format!("read on with after={}", first_seq - 1);
        Self::new(StatusCode::GONE, "urn:synscope:expired", "Expired", detail, remedy)
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        let remedy = "see `history` of GET /api/v1/capabilities, and the server's log";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "urn:synscope:history", "History cannot be used", error.to_string(), remedy)
    }
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        let detail = error.to_string();
        match error {
            ImportError::Line(_) => {
                let remedy = "import what an export as ndjson gave: one event a line, in order of seq";
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                Self::new(status, "urn:synscope:bad-line", "A line is not an event", detail, remedy)
            }
            ImportError::NotKept(_) => {
                let remedy = "see `history` of GET /api/v1/capabilities";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Self::new(status, "urn:synscope:history", "History cannot be used", detail, remedy)
            }
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Expired(expired) => Self::expired(expired.first_seq),
            ReadError::History(error) => error.into(),
        }
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        let title = "Unacceptable field";
        let remedy = "see docs/reference.md for the fields of a trace request";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let problem = Self::new(status, "urn:synscope:bad-field", title, error.problem, remedy);
        let field = (!error.field.is_empty()).then(|| error.field.into());
        Self { field, ..problem }
    }
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Self {
        let detail = error.to_string();
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match error {
            CreateError::Field(error) => error.into(),
            CreateError::TooMany(_) => {
                let remedy = "stop one first, or start the server with a larger --max-traces";
                Self::new(
                    StatusCode::CONFLICT,
                    "urn:synscope:too-many-traces",
                    "Too many traces",
                    detail,
                    remedy,
                )
            }
            CreateError::Kernel(error) => {
                let title = "The kernel refused the probes";
                Self::new(unavailable, "urn:synscope:kernel", title, detail, error.remedy())
            }
            CreateError::Io(_) => {
                let remedy = "the system is short of threads or randomness: see its log";
                Self::new(unavailable, "urn:synscope:system", "The system refused", detail, remedy)
            }
            CreateError::ShuttingDown => {
                let remedy = "start it again";
                Self::new(unavailable, "urn:synscope:shutdown", "Shutting down", detail, remedy)
            }
        }
    }
}

/// Every call may answer with one.
impl OperationOutput for Problem {
    type Inner = Self;

    fn operation_response(context: &mut GenContext, _: &mut Operation) -> Option<openapi::Response> {
        let json_schema = context.schema.subschema_for::<Self>();
        let schema = Some(SchemaObject { json_schema, external_docs: None, example: None });
        let documents = [(PROBLEM_JSON.to_owned(), MediaType { schema, ..MediaType::default() })];
        let description = "A problem, as RFC 9457 has it".into();
        Some(openapi::Response {
            description,
            content: documents.into_iter().collect(),
            ..Default::default()
        })
    }

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, openapi::Response)> {
        Self::operation_response(context, operation).map(|response| (None, response)).into_iter().collect()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Strings and numbers always serialise.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.get().into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_type_of_problem_is_documented() {
        let reference = include_str!("../../../docs/reference.md");
        let source = include_str!("problem.rs");
        let types: Vec<_> =
            source.split("\"urn:").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(types.len() > 15, "{types:?}");
        // The first piece of this test is no type.
        for kind in types.into_iter().filter(|kind| !kind.is_empty()) {
            assert!(reference.contains(&format!("`urn:{kind}`")), "{kind} is not in docs/reference.md");
        }
    }
}
