//! The part of a filter that the database can check. What it cannot is left to be checked on the rows.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use rusqlite::types::Value as Sql;

use super::reads::address_bytes;
use crate::{
    event::UnixNano,
    filter::{Field, Filter, Op, Term, Value},
};

/// What the database can check.
#[derive(Default)]
pub(super) struct Conditions {
    /// On the rows of attempts.
    pub(super) rows: Clauses,
    /// On where to look for them: those of `rows` that concern cause and peer.
    pub(super) places: Clauses,
    cause: Option<Found>,
    peer: Option<Found>,
    /// Whether there are terms that only the rows can tell about.
    is_rest: bool,
}

/// Conditions in SQL, each beginning with AND, and what stands for their question marks.
#[derive(Default)]
pub(super) struct Clauses {
    pub(super) text: String,
    pub(super) values: Vec<Sql>,
}

/// How the places of attempts that fit lie in the order of causes and peers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// One after the other, in the order of attempts.
    Together,
    /// In several places, or in a range.
    Apart,
}

impl Conditions {
    /// What holds of every attempt that the filter means.
    pub(super) fn of(filter: &Filter, now: UnixNano) -> Self {
        let mut conditions = Self::default();
        for term in &filter.terms {
            conditions.is_rest |= conditions.add(term, now).is_none();
        }
        conditions
    }

    /// Whether they say something of the cause.
    pub(super) fn are_of_causes(&self) -> bool {
        self.cause.is_some()
    }

    /// Whether they say something of the peer.
    pub(super) fn are_of_peers(&self) -> bool {
        self.peer.is_some()
    }

    /// Whether places are in the order of the attempts there, so that a page of them is found without all of them.
    pub(super) fn are_in_order(&self) -> bool {
        [self.cause, self.peer].into_iter().flatten().all(|found| found == Found::Together)
    }

    /// Whether a row that fits is one that the filter means.
    pub(super) fn are_all(&self) -> bool {
        !self.is_rest
    }

    /// None when the database cannot check the term.
    fn add(&mut self, term: &Term, now: UnixNano) -> Option<()> {
        if term.not || term.op != Op::Is {
            return None;
        }
        let column = match term.field {
            Field::Outcome => "state",
            Field::Cause => "cause",
            Field::Peer => "peer",
            Field::Port => "peer_port",
            Field::LocalPort => "local_port",
            Field::Comm => "comm",
            Field::Pid => "pid",
            Field::Since | Field::Until => "start_ns",
            _ => return None,
        };
        let alternatives = term.values.iter().map(|value| range(term.field, value, now));
        let alternatives = alternatives.collect::<Option<Vec<_>>>()?;
        let found = match &alternatives[..] {
            [(first, last)] if first == last => Found::Together,
            _ => Found::Apart,
        };
        if let Some(of) = match term.field {
            Field::Cause => Some(&mut self.cause),
            Field::Peer => Some(&mut self.peer),
            _ => None,
        } {
            *of = (*of).max(Some(found));
            self.places.add(column, alternatives.clone());
        }
        if term.field == Field::Peer && found == Found::Apart {
            self.places.add_span(&term.values);
        }
        self.rows.add(column, alternatives);
        Some(())
    }
}

impl Clauses {
    fn add(&mut self, column: &str, alternatives: Vec<(Sql, Sql)>) {
        // Several values are something that an index can look up; ranges that are alternatives are not.
        if alternatives.iter().all(|(first, last)| first == last) {
            let marks = vec!["?"; alternatives.len()].join(", ");
            self.text.extend([" AND ", column, " IN (", &marks, ")"]);
            self.values.extend(alternatives.into_iter().map(|(first, _)| first));
        } else {
            let marks = vec![format!("{column} BETWEEN ? AND ?"); alternatives.len()].join(" OR ");
            self.text.extend([" AND (", &marks, ")"]);
            self.values.extend(alternatives.into_iter().flat_map(|(first, last)| [first, last]));
        }
    }

    /// From the first address of all these networks to the last one, which an index can take.
    fn add_span(&mut self, networks: &[Value]) {
        let bounds = || {
            networks.iter().filter_map(|value| match value {
                Value::Network(network) => Some(bounds(*network)),
                _ => None,
            })
        };
        if let (Some((first, _)), Some((_, last))) = (bounds().min(), bounds().max_by_key(|(_, last)| *last))
        {
            self.text.push_str(" AND peer BETWEEN ? AND ?");
            self.values.extend([Sql::Blob(first.into()), Sql::Blob(last.into())]);
        }
    }
}

/// The first and the last value of the column that fit.
fn range(field: Field, value: &Value, now: UnixNano) -> Option<(Sql, Sql)> {
    let number = |number: u64| Sql::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    Some(match value {
        Value::Text(text) => (text.clone().into(), text.clone().into()),
        Value::Number(only) => (number(*only), number(*only)),
        Value::Range(first, last) => (number(*first), number(*last)),
        Value::Network(network) => {
            let (first, last) = bounds(*network);
            (Sql::Blob(first.into()), Sql::Blob(last.into()))
        }
        Value::Ago(_) | Value::At(_) => {
            let at = number(value.moment(now)?);
            if field == Field::Since { (at, number(u64::MAX)) } else { (number(0), at) }
        }
        Value::Duration(_) | Value::Flag(_) => return None,
    })
}

/// The first and the last address of a network.
fn bounds(network: IpNet) -> ([u8; 16], [u8; 16]) {
    let last = match network {
        IpNet::V4(network) => IpAddr::V4(network.broadcast()),
        IpNet::V6(network) => {
            let host_bits = u128::MAX.checked_shr(network.prefix_len().into()).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(network.network()) | host_bits))
        }
    };
    (address_bytes(network.network()), address_bytes(last))
}
