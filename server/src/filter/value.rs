//! Values: how each kind is read, and written again so that it reads the same.

use std::{borrow::Cow, fmt, time::Duration};

use ipnet::IpNet;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use super::{Field, FilterError, Op, Span, fields::Kind};
use crate::{event::milliseconds, request::Network};

/// What a fact is held against.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
    /// Both ends belong to it.
    Range(u64, u64),
    Network(IpNet),
    Duration(Duration),
    Flag(bool),
    /// So long before the moment of evaluation.
    Ago(Duration),
    /// Nanoseconds since 1970.
    At(u64),
}

/// Lengths of time that can be written, longest first.
const UNITS: [(&str, u64); 7] = [
    ("w", 7 * 86_400_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];
/// A hundred years: nothing lasts longer, and nothing overflows.
const LONGEST_US: f64 = 100.0 * 365.0 * 86_400e6;

/// Reads one value of a field's kind.
pub(super) fn read(field: Field, op: Op, text: String, span: Span) -> Result<Value, FilterError> {
    let wrong = |problem: &str, remedy: &str| {
        Err(FilterError::new(span, format!("`{text}` is {problem}"), format!("write {remedy}")))
    };
    match field.kind() {
        Kind::Text => Ok(Value::Text(text)),
        Kind::Word(words) => {
            let words = words.all();
            if op == Op::Is && !words.contains(&text.as_str()) {
                return wrong(&format!("no {}", field.name()), &format!("one of {}", words.join(", ")));
            }
            Ok(Value::Text(text))
        }
        Kind::Number(most) => match number_or_range(&text, most) {
            Some(Value::Range(..)) if op != Op::Is => {
                wrong("a range, which can only be asked for with =", "a single number")
            }
            Some(value) => Ok(value),
            None => {
                let remedy = format!("a whole number up to {most}, or a range like 8000-9000");
                wrong("no number of this field", &remedy)
            }
        },
        Kind::Network => match Network::try_from(text.clone()) {
            Ok(network) => Ok(Value::Network(network.0.trunc())),
            Err(_) => wrong("no address and no network", "one like 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32"),
        },
        Kind::Duration => match duration(&text) {
            Some(duration) => Ok(Value::Duration(duration)),
            None => wrong("no duration", "a number with its unit, like 250ms, 1.5s, 2m or 1h30m"),
        },
        Kind::Flag => match text.as_str() {
            "true" => Ok(Value::Flag(true)),
            "false" => Ok(Value::Flag(false)),
            _ => wrong("neither true nor false", "true or false"),
        },
        Kind::Time => match moment(&text) {
            Some(moment) => Ok(moment),
            None => wrong("no time", "one like -1h, -7d, 2026-05-04T12:00:00Z or 2026-05-04T14:00:00+02:00"),
        },
    }
}

fn number_or_range(text: &str, most: u64) -> Option<Value> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| digits && *number <= most)
    };
    match text.split_once('-') {
        None => number(text).map(Value::Number),
        Some((first, last)) => match (number(first)?, number(last)?) {
            (first, last) if first < last => Some(Value::Range(first, last)),
            (first, last) if first == last => Some(Value::Number(first)),
            _ => None,
        },
    }
}

/// Numbers with units, one after the other: `1h30m`, `1.5s`.
fn duration(text: &str) -> Option<Duration> {
    if text.is_empty() {
        return None;
    }
    let (mut rest, mut micros) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters])?;
        rest = &rest[letters..];
        #[expect(clippy::cast_precision_loss, reason = "a week in microseconds is exact")]
        let unit = *unit as f64;
        micros += number * unit;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded, and never negative"
    )]
    (micros <= LONGEST_US).then(|| Duration::from_micros(micros.round() as u64))
}

fn moment(text: &str) -> Option<Value> {
    if let Some(ago) = text.strip_prefix('-') {
        return duration(ago).map(Value::Ago);
    }
    let timestamp: Timestamp = text.parse().ok()?;
    u64::try_from(timestamp.as_nanosecond()).ok().map(Value::At)
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write_text(f, text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                write!(f, "{}", network.addr())
            }
            Self::Network(network) => write!(f, "{network}"),
            Self::Duration(duration) => write_duration(f, *duration),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Ago(ago) => {
                f.write_str("-")?;
                write_duration(f, *ago)
            }
            // Every u64 of nanoseconds is a moment before the year 2555.
            Self::At(nanos) => {
                let timestamp = Timestamp::from_nanosecond(i128::from(*nanos)).unwrap_or(Timestamp::MAX);
                write!(f, "{timestamp}")
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let plain = |c: char| !c.is_whitespace() && c != ',' && c != '"';
    if !text.is_empty() && text.chars().all(plain) {
        return f.write_str(text);
    }
    write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// In the largest unit that needs no fraction.
fn write_duration(f: &mut fmt::Formatter<'_>, duration: Duration) -> fmt::Result {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let exact = UNITS.iter().find(|(_, unit)| micros > 0 && micros.is_multiple_of(*unit));
    match exact {
        Some((name, unit)) => write!(f, "{}{name}", micros / unit),
        None => f.write_str("0s"),
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Range(first, last) => {
                let mut range = serializer.serialize_struct("Range", 2)?;
                range.serialize_field("from", first)?;
                range.serialize_field("to", last)?;
                range.end()
            }
            Self::Network(network) => serializer.collect_str(network),
            Self::Duration(duration) => serializer.serialize_f64(milliseconds(*duration)),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Ago(ago) => {
                let mut moment = serializer.serialize_struct("Ago", 1)?;
                moment.serialize_field("ago_ms", &milliseconds(*ago))?;
                moment.end()
            }
            Self::At(nanos) => {
                let mut moment = serializer.serialize_struct("At", 1)?;
                moment.serialize_field("unix_nano", &nanos.to_string())?;
                moment.end()
            }
        }
    }
}

impl JsonSchema for Value {
    fn schema_name() -> Cow<'static, str> {
        "FilterValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let object = |names: &[&str], kind: &str| {
            let properties: serde_json::Map<_, _> =
                names.iter().map(|name| ((*name).to_owned(), serde_json::json!({ "type": kind }))).collect();
            json_schema!({"type": "object", "properties": properties, "required": names, "additionalProperties": false})
        };
        json_schema!({"anyOf": [
            {"type": ["string", "number", "boolean"]},
            object(&["from", "to"], "integer"),
            object(&["ago_ms"], "number"),
            object(&["unix_nano"], "string"),
        ]})
    }
}
