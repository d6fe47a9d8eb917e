//! Traces and newest attempts as tables, for browsers without JavaScript. Those cannot send a bearer token, but all of
//! them can ask for a password: the token is taken as that too, here and nowhere else. This page changes nothing, and
//! no other site can read it, so that a browser that keeps the password gives nothing away.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use synscope_web::{AttemptRow, Page, Recent, TraceRow, plain};

use super::{App, guard::audit, problem::Problem};
use crate::{filter::Filter, listen::Connection, trace::Trace};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/plain", get(answer))
}

/// Attempts that are listed.
const NEWEST: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainQuery {
    /// The trace whose attempts are listed; without it the newest.
    trace: Option<String>,
}

async fn answer(
    State(app): State<Arc<App>>,
    query: Result<Query<PlainQuery>, QueryRejection>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let host = synscope_tracer::host::name();
    let page = Page { version: env!("CARGO_PKG_VERSION"), host: &host };
    let shown = shown_token(&headers);
    if shown.as_deref().and_then(|token| app.tokens.access(token)).is_none() {
        if shown.is_some() {
            app.failures.count(Some(&connection.peer)).map_err(Problem::too_many_failures)?;
            audit::refused_password(&connection.peer, "/plain");
        }
        let ask =
            HeaderValue::from_static("Basic realm=\"Synscope: the token as password\", charset=\"UTF-8\"");
        let asked = [(header::WWW_AUTHENTICATE, ask)];
        return Ok((StatusCode::UNAUTHORIZED, asked, Html(plain(&page, None))).into_response());
    }
    let Query(PlainQuery { trace }) = query.map_err(|error| Problem::bad_query(&error.body_text()))?;
    let traces = app.manager.list()?;
    let chosen = match trace {
        Some(id) => Some(app.manager.get(&id)?.ok_or_else(|| Problem::no_such_trace(&id))?),
        None => traces.first().cloned(),
    };
    let attempts = chosen.as_ref().map(|trace| {
        let read = || trace.attempts(&Filter::default(), None, NEWEST);
        tokio::task::block_in_place(read)
            .map(|(newest, _)| newest.iter().map(|attempt| attempt_row(&attempt.to_facts())).collect())
    });
    let recent = Recent {
        traces: traces.iter().map(|trace| trace_row(trace)).collect(),
        shown: chosen.map(|trace| trace.id.clone()).unwrap_or_default(),
        attempts: attempts.transpose()?.unwrap_or_default(),
    };
    Ok(Html(plain(&page, Some(&recent))).into_response())
}

/// The password of Basic, whoever the user; or a bearer token, for scripts.
fn shown_token(headers: &HeaderMap) -> Option<String> {
    let (scheme, shown) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(shown.trim().to_owned());
    }
    let pair = BASE64_STANDARD.decode(shown.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (_, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
    Some(password.to_owned())
}

fn trace_row(trace: &Trace) -> TraceRow {
    let json = serde_json::to_value(trace.to_json()).unwrap_or_default();
    let lost =
        json["counters"]["lost"].as_object().map(|stages| stages.values().filter_map(Value::as_u64).sum());
    TraceRow {
        id: trace.id.clone(),
        name: text(&json["name"]),
        state: text(&json["state"]),
        events: json["counters"]["delivered"].as_u64().unwrap_or(0),
        lost: lost.unwrap_or(0),
    }
}

fn attempt_row(attempt: &Value) -> AttemptRow {
    let connect = &attempt["tcp"]["connect"];
    let outcome = if connect["cause"].is_string() { &connect["cause"] } else { &attempt["state"] };
    let peer = &attempt["network"]["peer"];
    let address = text(&peer["address"]);
    let address = if address.contains(':') { format!("[{address}]") } else { address };
    let process = &attempt["process"];
    AttemptRow {
        time: moment(&attempt["start_unix_nano"]),
        outcome: text(outcome),
        peer: format!("{address}:{}", peer["port"]),
        process: format!("{} {}", text(&process["comm"]), process["pid"]),
        syn_retransmits: connect["syn_retransmits"].as_u64().unwrap_or(0),
        duration: duration(attempt["duration_ms"].as_f64().unwrap_or(0.0)),
        summary: text(&attempt["diagnosis"]["summary"]),
    }
}

fn duration(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms:.3} ms") } else { format!("{:.3} s", ms / 1000.0) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A time in UTC: what zone the reader is in, the server does not know.
fn moment(nanos: &Value) -> String {
    let time = nanos.as_str().and_then(|nanos| Timestamp::from_nanosecond(nanos.parse().ok()?).ok());
    time.map(|time| time.strftime("%Y-%m-%d %H:%M:%S%.3f UTC").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_taken_as_password_of_any_user_and_as_bearer() {
        let shown = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            shown_token(&headers)
        };
        assert_eq!(shown("Basic YW55Om9uZTp0d28=").as_deref(), Some("one:two"));
        assert_eq!(shown("basic OmFiYw==").as_deref(), Some("abc"));
        assert_eq!(shown("Bearer abc").as_deref(), Some("abc"));
        for nonsense in ["", "Basic", "Basic !", "Basic YWJj", "Digest OmFiYw==", "Basic /w=="] {
            assert_eq!(shown(nonsense), None, "{nonsense}");
        }
        assert_eq!(shown_token(&HeaderMap::new()), None);
    }

    #[test]
    fn an_attempt_is_a_row_whatever_it_lacks() {
        let row = attempt_row(&serde_json::json!({
            "state": "failed", "start_unix_nano": "1790000000123456789", "duration_ms": 4012.5,
            "network": {"peer": {"address": "2001:db8::1", "port": 22}}, "process": {"pid": 7, "comm": "nc"},
            "tcp": {"connect": {"cause": "timeout", "syn_retransmits": 3}}, "diagnosis": {"summary": "Nobody answered."},
        }));
        assert_eq!(row.time, "2026-09-21 14:13:20.123 UTC");
        assert_eq!(
            (row.outcome.as_str(), row.peer.as_str(), row.process.as_str()),
            ("timeout", "[2001:db8::1]:22", "nc 7")
        );
        assert_eq!((row.syn_retransmits, row.duration.as_str()), (3, "4.013 s"));
        assert_eq!(duration(0.0456), "0.046 ms");
        assert_eq!(attempt_row(&Value::Null).outcome, "");
    }
}
