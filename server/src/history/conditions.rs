//! The part of a filter that the database can check. What it cannot is left to be checked on the rows.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use rusqlite::types::Value as Sql;

use super::reads::address_bytes;
use crate::{
    event::UnixNano,
    filter::{Field, Filter, Op, Term, Value},
};

/// Conditions on the table of attempts, each beginning with AND, and what stands for their question marks.
#[derive(Default)]
pub(super) struct Conditions {
    pub(super) text: String,
    pub(super) values: Vec<Sql>,
}

impl Conditions {
    /// What holds of every attempt that the filter means.
    pub(super) fn of(filter: &Filter, now: UnixNano) -> Self {
        let mut conditions = Self::default();
        for term in filter.terms.iter().filter(|term| !term.not && term.op == Op::Is) {
            conditions.add(term, now);
        }
        conditions
    }

    fn add(&mut self, term: &Term, now: UnixNano) {
        let column = match term.field {
            Field::Outcome => "state",
            Field::Cause => "cause",
            Field::Peer => "peer",
            Field::Port => "peer_port",
            Field::LocalPort => "local_port",
            Field::Comm => "comm",
            Field::Pid => "pid",
            Field::Since | Field::Until => "start_ns",
            _ => return,
        };
        let alternatives: Option<Vec<_>> =
            term.values.iter().map(|value| range(term.field, value, now)).collect();
        // A value of another kind: the rows will tell.
        let Some(alternatives) = alternatives else { return };
        let one = |(first, last): (Sql, Sql)| {
            let same = first == last;
            self.values.push(first);
            if same {
                return format!("{column} = ?");
            }
            self.values.push(last);
            format!("{column} BETWEEN ? AND ?")
        };
        let alternatives: Vec<_> = alternatives.into_iter().map(one).collect();
        self.text.extend([" AND (", &alternatives.join(" OR "), ")"]);
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
