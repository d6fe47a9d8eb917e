//! Events as JSON: OpenTelemetry's names, nested. What is not known is absent.

mod describe;
mod diagnosis;
mod inquiry;
mod origin;
mod relations;
mod text;

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::{RawValue, to_raw_value};
use synscope_tracer::{Icmp, symbols::Frame};

pub(crate) use describe::{Describer, are_known, look, milliseconds};
use diagnosis::Diagnosis;
use inquiry::Found;
use origin::{Program, Surroundings};
use relations::Related;

/// One event, without its sequence number.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct EventBody {
    pub(crate) time_unix_nano: UnixNano,
    pub(crate) event: EventName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<u64>,
    #[serde(flatten)]
    pub(crate) facts: Facts,
}

/// What happened, as `event` names it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "String", into = "&'static str")]
pub(crate) enum EventName {
    Start,
    Retransmit,
    Challenge,
    Established,
    Failed,
    Drop,
    SynAckRetransmit,
}

impl EventName {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 7] = [
        Self::Start,
        Self::Retransmit,
        Self::Challenge,
        Self::Established,
        Self::Failed,
        Self::Drop,
        Self::SynAckRetransmit,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "connect.start",
            Self::Retransmit => "connect.retransmit",
            Self::Challenge => "connect.challenge",
            Self::Established => "connect.established",
            Self::Failed => "connect.failed",
            Self::Drop => "skb.drop",
            Self::SynAckRetransmit => "accept.retransmit",
        }
    }
}

impl From<EventName> for &'static str {
    fn from(event: EventName) -> Self {
        event.name()
    }
}

impl JsonSchema for EventName {
    fn schema_name() -> Cow<'static, str> {
        "EventName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": Self::ALL.map(Self::name)})
    }
}

impl TryFrom<String> for EventName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|event| event.name() == name);
        known.ok_or_else(|| format!("`{name}` is no event: see docs/reference.md for their names"))
    }
}

/// What an event says of its attempt.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Facts {
    pub(crate) network: Network,
    /// Shared by the events of one caller.
    #[serde(flatten)]
    pub(crate) who: Arc<Who>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ErrorType>,
    pub(crate) tcp: Tcp,
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnosis: Option<Diagnosis>,
    #[serde(flatten)]
    found: Found,
    #[serde(flatten)]
    related: Related,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stack: Option<Stack>,
}

/// Nanoseconds since 1970, a string in JSON: they exceed 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnixNano(pub(crate) u64);

impl UnixNano {
    pub(crate) fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX))
    }
}

impl JsonSchema for UnixNano {
    fn schema_name() -> Cow<'static, str> {
        "UnixNano".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]{1,20}$", "description": "Nanoseconds since 1970."})
    }
}

impl Serialize for UnixNano {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UnixNano {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| de::Error::custom(format!("`{text}` is no time in nanoseconds")))
    }
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Network {
    transport: &'static str,
    r#type: &'static str,
    pub(crate) local: Endpoint,
    pub(crate) peer: Endpoint,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { address: address.ip(), port: address.port() }
    }
}

/// Who asked, and where that runs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Who {
    #[serde(skip)]
    pub(crate) process: Process,
    // The process as JSON: a third of an event, and the same in all of one caller.
    #[serde(rename = "process")]
    #[schemars(with = "Process")]
    json: Box<RawValue>,
    #[serde(flatten)]
    surroundings: Surroundings,
}

impl Who {
    fn new(process: Process, surroundings: Surroundings) -> Self {
        // Strings and numbers always serialise.
        let json = to_raw_value(&process).unwrap_or_default();
        Self { process, json, surroundings }
    }
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Process {
    /// Number of the socket's network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) netns: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns_name: Option<String>,
    /// Who called connect(); nobody on the passive side.
    #[serde(flatten)]
    pub(crate) caller: Option<Caller>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Caller {
    pub(crate) pid: u32,
    tid: u32,
    pub(crate) comm: String,
    pub(crate) user: User,
    pub(crate) cgroup: String,
    #[serde(flatten)]
    program: Program,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct User {
    pub(crate) id: u32,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorType {
    pub(crate) r#type: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Tcp {
    pub(crate) connect: Connect,
}

/// An ICMP error.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct IcmpJson {
    r#type: u8,
    code: u8,
    /// What the RFCs call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'static str>,
    /// Who sent it.
    sender: IpAddr,
}

impl From<Icmp> for IcmpJson {
    fn from(icmp: Icmp) -> Self {
        Self { r#type: icmp.kind, code: icmp.code, name: icmp.name(), sender: icmp.sender }
    }
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Connect {
    pub(crate) start_unix_nano: UnixNano,
    pub(crate) duration_ms: f64,
    pub(crate) syn_retransmits: u16,
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    syn_unsent: u16,
    pub(crate) stale_peer: bool,
    challenges: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    soft_error: Option<String>,
    /// The ICMP error that the attempt was last answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp: Option<IcmpJson>,
    /// Why this host dropped a packet, in the kernel's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drop_reason: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(count: &u16) -> bool {
    *count == 0
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Stack {
    pub(crate) user: Vec<FrameJson>,
    pub(crate) kernel: Vec<FrameJson>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct FrameJson {
    pub(crate) address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) module: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    module_offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    inlined: bool,
}

impl From<Frame> for FrameJson {
    fn from(frame: Frame) -> Self {
        Self {
            address: format!("{:#x}", frame.address),
            function: frame.function,
            offset: frame.offset,
            module: frame.module,
            module_offset: frame.module_offset,
            build_id: frame.build_id,
            file: frame.file.map(|file| file.to_string_lossy().into_owned()),
            line: frame.line,
            inlined: frame.inlined,
        }
    }
}

/// An event as the tracer gives it, for tests: of curl, without evidence of anything.
#[cfg(test)]
pub(crate) fn sample(kind: synscope_tracer::EventKind) -> synscope_tracer::Event {
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"curl");
    synscope_tracer::Event {
        kind,
        attempt: Some(1),
        time_unix_ns: 0,
        start_unix_ns: 0,
        duration: std::time::Duration::from_micros(300),
        local: ([10, 0, 0, 1], 40_000).into(),
        peer: ([10, 0, 0, 5], 81).into(),
        owner: Some(synscope_tracer::Owner { pid: 7, tid: 7, uid: 0, comm, cgroup: 1 }),
        netns: 1,
        syn_retransmits: 0,
        syn_unsent: 0,
        challenges: 0,
        stacks: None,
        code: None,
    }
}
