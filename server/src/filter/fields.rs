//! What can be asked of an attempt: the one table that parser, evaluation, completion and the page go by.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use synscope_tracer::Cause;

use super::Op;

/// A field of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Text,
    Outcome,
    Cause,
    Error,
    SoftError,
    Peer,
    Port,
    LocalPort,
    Family,
    Duration,
    Retransmits,
    Challenges,
    StalePeer,
    Since,
    Until,
    Comm,
    Pid,
    Uid,
    Executable,
    Cgroup,
    Container,
    Pod,
    Unit,
    Netns,
    Listener,
    ListenerFull,
    Attempt,
}

/// What a field holds, and so which values and operators it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// One of a few words.
    Word(Words),
    /// A whole number up to this one.
    Number(u64),
    /// An address, asked for by networks.
    Network,
    /// A length of time.
    Duration,
    /// True or false.
    Flag,
    /// A moment.
    Time,
}

/// The words of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    Causes,
    Outcomes,
    Families,
}

/// A field and all that is to be known about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Definition {
    pub(crate) field: Field,
    /// As it is written in a filter.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Where an attempt's JSON has it; empty for `text`, which looks into several.
    pub(crate) path: &'static str,
    pub(crate) meaning: &'static str,
}

const U32: Kind = Kind::Number(u32::MAX as u64);
const PORT: Kind = Kind::Number(u16::MAX as u64);
/// Counts and identifiers: as far as a double is exact, which is what readers of JSON have.
const COUNT: Kind = Kind::Number((1 << 53) - 1);

const fn field(
    field: Field,
    name: &'static str,
    kind: Kind,
    path: &'static str,
    meaning: &'static str,
) -> Definition {
    Definition { field, name, kind, path, meaning }
}

/// Every field, in the order of [`Field`].
pub(crate) const FIELDS: [Definition; 27] = [
    field(Field::Text, "text", Kind::Text, "", "any of the fields in which a bare word is looked for"),
    field(Field::Outcome, "outcome", Kind::Word(Words::Outcomes), "state", "how it stands"),
    field(Field::Cause, "cause", Kind::Word(Words::Causes), "tcp.connect.cause", "why it failed"),
    field(Field::Error, "error", Kind::Text, "error.type", "the error that the application got"),
    field(
        Field::SoftError,
        "soft_error",
        Kind::Text,
        "tcp.connect.soft_error",
        "an ICMP error that did not end it",
    ),
    field(Field::Peer, "peer", Kind::Network, "network.peer.address", "the peer's address"),
    field(Field::Port, "port", PORT, "network.peer.port", "the peer's port"),
    field(Field::LocalPort, "local_port", PORT, "network.local.port", "the local port"),
    field(Field::Family, "family", Kind::Word(Words::Families), "network.type", "the address family"),
    field(Field::Duration, "duration", Kind::Duration, "duration_ms", "how long it took, or takes so far"),
    field(
        Field::Retransmits,
        "retransmits",
        COUNT,
        "tcp.connect.syn_retransmits",
        "SYNs that were sent again",
    ),
    field(Field::Challenges, "challenges", COUNT, "tcp.connect.challenges", "challenge ACKs of the peer"),
    field(
        Field::StalePeer,
        "stale_peer",
        Kind::Flag,
        "tcp.connect.stale_peer",
        "the peer holds an old connection",
    ),
    field(Field::Since, "since", Kind::Time, "start_unix_nano", "it started then or later"),
    field(Field::Until, "until", Kind::Time, "start_unix_nano", "it started then or earlier"),
    field(Field::Comm, "comm", Kind::Text, "process.comm", "the caller's thread name"),
    field(Field::Pid, "pid", U32, "process.pid", "the caller's process"),
    field(Field::Uid, "uid", U32, "process.user.id", "the caller's user"),
    field(Field::Executable, "executable", Kind::Text, "process.executable.path", "the caller's executable"),
    field(
        Field::Cgroup,
        "cgroup",
        Kind::Text,
        "process.cgroup",
        "the caller's cgroup, as a path below the root",
    ),
    field(Field::Container, "container", Kind::Text, "container.id", "the caller's container"),
    field(Field::Pod, "pod", Kind::Text, "k8s.pod.uid", "the caller's Kubernetes pod"),
    field(Field::Unit, "unit", Kind::Text, "systemd.unit", "the caller's service or scope"),
    field(Field::Netns, "netns", U32, "process.netns", "the socket's network namespace, by number"),
    field(
        Field::Listener,
        "listener",
        PORT,
        "listener.local.port",
        "the port of this host's listener that should take it",
    ),
    field(Field::ListenerFull, "listener_full", Kind::Flag, "listener.full", "that listener's queue is full"),
    field(Field::Attempt, "attempt", COUNT, "attempt", "the attempt's own number"),
];

/// Where a bare word is looked for.
pub(crate) const SEARCHED: [Field; 9] = [
    Field::Cause,
    Field::Error,
    Field::Peer,
    Field::Comm,
    Field::Executable,
    Field::Cgroup,
    Field::Container,
    Field::Pod,
    Field::Unit,
];

impl Field {
    pub(crate) fn definition(self) -> &'static Definition {
        &FIELDS[self as usize]
    }

    pub(crate) fn kind(self) -> Kind {
        self.definition().kind
    }

    pub(crate) fn name(self) -> &'static str {
        self.definition().name
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        FIELDS.iter().find(|definition| definition.name == name).map(|definition| definition.field)
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl JsonSchema for Field {
    fn schema_name() -> Cow<'static, str> {
        "Field".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": FIELDS.map(|definition| definition.name).to_vec()})
    }
}

impl Kind {
    /// As completion and documentation call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Word(_) => "word",
            Self::Number(_) => "number",
            Self::Network => "network",
            Self::Duration => "duration",
            Self::Flag => "flag",
            Self::Time => "time",
        }
    }

    pub(crate) fn operators(self) -> &'static [Op] {
        match self {
            Self::Text | Self::Word(_) => &[Op::Is, Op::Contains],
            Self::Number(_) | Self::Duration => &[Op::Is, Op::Above, Op::AtLeast, Op::Below, Op::AtMost],
            Self::Network | Self::Flag | Self::Time => &[Op::Is],
        }
    }
}

impl Words {
    pub(crate) fn all(self) -> Vec<&'static str> {
        match self {
            Self::Causes => Cause::ALL.iter().map(|cause| cause.name()).collect(),
            Self::Outcomes => vec!["pending", "established", "failed"],
            Self::Families => vec!["ipv4", "ipv6"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_finds_its_own_definition() {
        for definition in FIELDS {
            assert_eq!(definition.field.definition().field, definition.field);
            assert_eq!(Field::named(definition.field.name()), Some(definition.field));
        }
    }
}
