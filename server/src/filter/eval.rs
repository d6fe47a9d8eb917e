//! Whether an attempt is meant.

use std::{cmp::Ordering, net::IpAddr};

use serde_json::Value as Json;

use super::{
    Field, Filter, Op, Term, Value,
    fields::{Kind, SEARCHED},
};
use crate::event::{UnixNano, milliseconds};

/// What a field holds.
#[derive(Clone, Copy, Debug)]
enum Fact<'a> {
    Text(&'a str),
    Number(u64),
    Milliseconds(f64),
    Address(IpAddr),
    Flag(bool),
    Time(u64),
}

/// What an attempt, as the API shows it, has at the field's path.
fn fact(attempt: &Json, field: Field) -> Option<Fact<'_>> {
    let found = at_path(attempt, field)?;
    match field.kind() {
        Kind::Text | Kind::Word(_) => found.as_str().map(Fact::Text),
        Kind::Number(_) => found.as_u64().map(Fact::Number),
        Kind::Network => found.as_str()?.parse().ok().map(Fact::Address),
        Kind::Duration => found.as_f64().map(Fact::Milliseconds),
        Kind::Flag => found.as_bool().map(Fact::Flag),
        Kind::Time => found.as_str()?.parse().ok().map(Fact::Time),
    }
}

fn at_path(attempt: &Json, field: Field) -> Option<&Json> {
    field.definition().path.split('.').try_fold(attempt, |value, member| value.get(member))
}

impl Filter {
    /// Whether every term holds of an attempt, as the API shows it. Relative times are counted back from `now`.
    pub(crate) fn matches(&self, attempt: &Json, now: UnixNano) -> bool {
        self.terms.iter().all(|term| term.holds(attempt, now) != term.not)
    }
}

impl Term {
    /// Whether one of the values fits what is known. What is not known fits nothing.
    fn holds(&self, attempt: &Json, now: UnixNano) -> bool {
        let one_fits = |fact| self.values.iter().any(|value| fits(self.field, self.op, fact, value, now));
        match self.field {
            Field::Text => SEARCHED
                .iter()
                .filter_map(|field| at_path(attempt, *field)?.as_str())
                .any(|text| one_fits(Fact::Text(text))),
            field => fact(attempt, field).is_some_and(one_fits),
        }
    }
}

fn fits(field: Field, op: Op, fact: Fact<'_>, value: &Value, now: UnixNano) -> bool {
    match (fact, value) {
        (Fact::Text(text), Value::Text(value)) if op == Op::Contains => {
            text.to_lowercase().contains(&value.to_lowercase())
        }
        (Fact::Text(text), Value::Text(value)) => text == value,
        (Fact::Number(number), Value::Number(value)) => compares(op, number.cmp(value)),
        (Fact::Number(number), Value::Range(first, last)) => (*first..=*last).contains(&number),
        (Fact::Milliseconds(took), Value::Duration(value)) => {
            took.partial_cmp(&milliseconds(*value)).is_some_and(|order| compares(op, order))
        }
        (Fact::Address(address), Value::Network(network)) => network.contains(&address),
        (Fact::Flag(flag), Value::Flag(value)) => flag == *value,
        (Fact::Time(time), value) => value.moment(now).is_some_and(|limit| is_beyond(field, time, limit)),
        _ => false,
    }
}

fn compares(op: Op, order: Ordering) -> bool {
    match op {
        Op::Is | Op::Contains => order.is_eq(),
        Op::Above => order.is_gt(),
        Op::AtLeast => order.is_ge(),
        Op::Below => order.is_lt(),
        Op::AtMost => order.is_le(),
    }
}

impl Value {
    /// The moment that it stands for, in nanoseconds since 1970.
    pub(crate) fn moment(&self, now: UnixNano) -> Option<u64> {
        match self {
            Self::Ago(ago) => Some(now.0.saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX))),
            Self::At(at) => Some(*at),
            _ => None,
        }
    }
}

/// `since` looks to the one side, `until` to the other.
fn is_beyond(field: Field, time: u64, limit: u64) -> bool {
    if field == Field::Until { time <= limit } else { time >= limit }
}
