//! An attempt as a span. Events carry OpenTelemetry's names already; nested members become dotted ones.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value as Any},
    trace::v1::{Span, Status, span, span::SpanKind, status::StatusCode},
};
use serde_json::Value;

use crate::{attempt::Attempt, event::UnixNano};

/// A span of a trace of its own: nobody told us which request wanted the connection.
pub(super) fn span(trace: &str, attempt: &Attempt) -> Span {
    let head = &attempt.head;
    let facts: Value = serde_json::from_str(&attempt.newest).unwrap_or_default();
    let start = head.tcp.connect.start_unix_nano.0;
    let mut attributes = vec![
        attribute("synscope.trace".into(), trace.to_owned()),
        attribute("synscope.attempt".into(), attempt.id.to_string()),
    ];
    for (name, value) in facts.as_object().into_iter().flatten() {
        // They are the span's own times, status and stack, or numbers of one event.
        if !["seq", "time_unix_nano", "event", "attempt", "stack"].contains(&name.as_str()) {
            flatten(name, value, &mut attributes);
        }
    }
    attributes.extend(stacktrace(&facts).map(|stack| attribute("code.stacktrace".into(), stack)));
    let retransmit = |time: &UnixNano| span::Event {
        time_unix_nano: time.0,
        name: "connect.retransmit".into(),
        ..span::Event::default()
    };
    let message = facts["diagnosis"]["summary"].as_str().unwrap_or_default().to_owned();
    let status = attempt.is_failed().then(|| Status { message, code: StatusCode::Error.into() });
    Span {
        trace_id: random::<16>(),
        span_id: random::<8>(),
        name: "tcp.connect".into(),
        kind: SpanKind::Client.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: attempt.ended.map_or(start, |ended| ended.0),
        attributes,
        events: attempt.retransmits.iter().map(retransmit).collect(),
        status,
        ..Span::default()
    }
}

/// Ids must not be zero, and the chance that these are is nil. Without randomness spans would be taken for one, so the
/// fallback is zero, which collectors reject and say.
fn random<const N: usize>() -> Vec<u8> {
    let mut bytes = [0; N];
    let _ = getrandom::fill(&mut bytes);
    bytes.to_vec()
}

fn flatten(name: &str, value: &Value, attributes: &mut Vec<KeyValue>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                flatten(&format!("{name}.{member}"), value, attributes);
            }
        }
        Value::Null => {}
        value => attributes.push(attribute(name.to_owned(), value)),
    }
}

/// The user stack, a frame a line, innermost first.
fn stacktrace(facts: &Value) -> Option<String> {
    let frames = facts["stack"]["user"].as_array().filter(|frames| !frames.is_empty())?;
    let line = |frame: &Value| {
        let text = |member: &str| frame[member].as_str();
        let place = text("function").or(text("address")).unwrap_or("?");
        text("module").map_or_else(|| place.to_owned(), |module| format!("{place} ({module})"))
    };
    Some(frames.iter().map(line).collect::<Vec<_>>().join("\n"))
}

pub(super) fn attribute(key: String, value: impl Into<Attribute>) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { value: Some(value.into().0) }), ..KeyValue::default() }
}

/// A value that an attribute may have.
pub(super) struct Attribute(Any);

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self(Any::StringValue(text))
    }
}

impl From<&Value> for Attribute {
    fn from(value: &Value) -> Self {
        Self(match value {
            Value::Bool(flag) => Any::BoolValue(*flag),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Any::IntValue(whole),
                (None, fraction) => Any::DoubleValue(fraction.unwrap_or(f64::NAN)),
            },
            Value::String(text) => Any::StringValue(text.clone()),
            // Attributes hold arrays of strings, so that what is nested stands there as JSON.
            Value::Array(values) => {
                let values = values.iter().map(|value| match value {
                    Value::String(text) => text.clone(),
                    value => value.to_string(),
                });
                let values = values.map(|text| AnyValue { value: Some(Any::StringValue(text)) });
                Any::ArrayValue(ArrayValue { values: values.collect() })
            }
            Value::Null | Value::Object(_) => Any::StringValue(value.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{Attempt, sample};

    fn of(facts: &Value) -> Span {
        let text = facts.to_string();
        span("t1", &Attempt::begin(7, 1, serde_json::from_str(&text).unwrap(), text.into()))
    }

    fn has(span: &Span, name: &str) -> Option<Any> {
        span.attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?.value
    }

    fn failed() -> Value {
        let mut facts: Value = serde_json::from_str(&sample("connect.failed", 7).newest).unwrap();
        facts["diagnosis"] = serde_json::json!({"summary": "Nobody answered.", "next": "Look there."});
        facts["process"]["ancestry"] = serde_json::json!([{"pid": 1, "comm": "init"}]);
        facts["stack"] = serde_json::json!({"user": [
            {"function": "connect", "module": "libc.so.6"}, {"address": "0x12"}
        ]});
        facts
    }

    #[test]
    fn names_are_dotted_and_types_are_kept() {
        let span = of(&failed());
        assert_eq!(has(&span, "network.peer.address"), Some(Any::StringValue("::1".into())));
        assert_eq!(has(&span, "network.peer.port"), Some(Any::IntValue(22)));
        assert_eq!(has(&span, "tcp.connect.duration_ms"), Some(Any::DoubleValue(500.0)));
        assert_eq!(has(&span, "synscope.trace"), Some(Any::StringValue("t1".into())));
        assert_eq!(has(&span, "code.stacktrace"), Some(Any::StringValue("connect (libc.so.6)\n0x12".into())));
        assert!(matches!(has(&span, "process.ancestry"), Some(Any::ArrayValue(_))));
        assert_eq!((has(&span, "seq"), has(&span, "stack.user")), (None, None));
    }

    #[test]
    fn a_failure_is_an_error_from_start_to_end() {
        let span = of(&failed());
        assert_eq!(span.start_time_unix_nano, 1_790_000_000_000_000_000);
        assert_eq!(span.end_time_unix_nano, 1_790_000_000_500_000_000);
        let status = span.status.as_ref().unwrap();
        assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "Nobody answered."));
        assert_eq!(span.kind(), SpanKind::Client);
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
        assert_ne!(span.trace_id, of(&failed()).trace_id);
    }

    #[test]
    fn an_attempt_that_succeeded_late_is_no_error_and_tells_its_retransmits() {
        let mut attempt = sample("connect.retransmit", 7);
        let last = sample("connect.established", 7);
        attempt.take(8, (*last.head).clone(), last.newest);
        let span = span("t1", &attempt);
        assert_eq!(span.status, None);
        assert_eq!(span.events.len(), 1);
        assert_eq!(span.events[0].time_unix_nano, 1_790_000_000_500_000_000);
    }
}
