//! What a person or a script asks of a trace: read, checked field by field, turned into the tracer's options.

mod schema;

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use synscope_tracer::{Family, Filter, Options, cgroups};

use schema::{ObjectOrText, OneOrMany};

/// A trace request, as JSON has it and as the trace resource shows it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TraceRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_NAME))]
    pub(crate) name: Option<String>,
    #[schemars(with = "ObjectOrText")]
    pub(crate) filter: FilterRequest,
    #[schemars(range(max = MAX_SLOW_MS))]
    pub(crate) slow_ms: u64,
    pub(crate) starts: bool,
    pub(crate) stacks: bool,
    pub(crate) drops: bool,
    #[schemars(range(min = 1, max = MAX_TTL_S))]
    pub(crate) ttl_s: Option<u64>,
    #[schemars(range(min = 1, max = MAX_EVENTS))]
    pub(crate) max_events: Option<u64>,
    /// Keeps everything in memory, and writes to history only what is around the first match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recorder: Option<RecorderRequest>,
}

/// The `recorder` of a request.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecorderRequest {
    /// Seconds before the match.
    #[schemars(range(min = 1, max = MAX_RECORDED_S))]
    pub(crate) before_s: u64,
    /// Seconds after it.
    #[schemars(range(max = MAX_RECORDED_S))]
    pub(crate) after_s: u64,
    /// Terms of the filter language.
    pub(crate) filter: String,
}

impl RecorderRequest {
    fn check(&self) -> Result<(), FieldError> {
        if !(1..=MAX_RECORDED_S).contains(&self.before_s) {
            return Err(wrong("recorder.before_s", "must be from 1 to 3600"));
        }
        if self.after_s > MAX_RECORDED_S {
            return Err(wrong("recorder.after_s", "must be from 0 to 3600"));
        }
        if self.filter.trim().is_empty() {
            return Err(wrong("recorder.filter", "says which attempt to wait for, as cause=timeout"));
        }
        let filter = self.filter.parse::<crate::filter::Filter>();
        filter.map(drop).map_err(|error| wrong("recorder.filter", error.to_string()))
    }
}

impl Default for TraceRequest {
    fn default() -> Self {
        Self {
            name: None,
            filter: FilterRequest::default(),
            slow_ms: 1000,
            starts: false,
            stacks: true,
            drops: false,
            ttl_s: None,
            max_events: None,
            recorder: None,
        }
    }
}

/// The `filter` of a request. An empty list is a field that was not given.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FilterRequest {
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany<u32>")]
    pub(crate) pid: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany<String>")]
    pub(crate) comm: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany<u32>")]
    pub(crate) uid: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany<Cgroup>")]
    pub(crate) cgroup: Vec<Cgroup>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany<u32>")]
    pub(crate) netns: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) family: Option<FamilyName>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany<Network>")]
    pub(crate) peer: Vec<Network>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany<Ports>")]
    pub(crate) peer_port: Vec<Ports>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany<Ports>")]
    pub(crate) local_port: Vec<Ports>,
}

/// A field that is not as it should be.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {problem}")]
pub(crate) struct FieldError {
    pub(crate) field: String,
    pub(crate) problem: String,
}

fn wrong(field: &str, problem: impl Into<String>) -> FieldError {
    FieldError { field: field.into(), problem: problem.into() }
}

const MAX_NAME: usize = 100;
const MAX_SLOW_MS: u64 = Options::MAX_SLOW.as_secs() * 1000;
const MAX_TTL_S: u64 = 30 * 24 * 3600;
const MAX_EVENTS: u64 = 10_000_000;
const MAX_RECORDED_S: u64 = 3600;

impl TraceRequest {
    /// Reads a request out of a JSON document. The first field that is not as it should be is the error.
    pub(crate) fn from_json(document: Value) -> Result<Self, FieldError> {
        // Serde would take a list for a structure, member by member.
        if !document.is_object() {
            return Err(wrong("", "a trace request is a JSON object"));
        }
        if !document.get("filter").is_none_or(Value::is_object) {
            return Err(wrong("filter", "is a JSON object"));
        }
        let request: Self = serde_path_to_error::deserialize(document).map_err(|error| {
            let problem = error.inner().to_string();
            let at = error.path().to_string();
            // An unknown field is reported at its parent, or at itself: name it once, whole.
            let unknown = problem.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
            let field = match unknown {
                Some(unknown) if at == "." || at == unknown => unknown.to_owned(),
                Some(unknown) if !at.ends_with(unknown) => format!("{at}.{unknown}"),
                _ => at,
            };
            FieldError { field, problem }
        })?;
        request.check()?;
        Ok(request)
    }

    /// Checks what types cannot say.
    pub(crate) fn check(&self) -> Result<(), FieldError> {
        let name = self.name.as_deref().unwrap_or("");
        if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(wrong("name", "at most 100 characters, none of them control characters"));
        }
        if self.slow_ms > MAX_SLOW_MS {
            return Err(wrong("slow_ms", "must be from 0 to 600000"));
        }
        if self.ttl_s.is_some_and(|ttl| !(1..=MAX_TTL_S).contains(&ttl)) {
            return Err(wrong("ttl_s", "must be from 1 to 2592000"));
        }
        if self.max_events.is_some_and(|max| !(1..=MAX_EVENTS).contains(&max)) {
            return Err(wrong("max_events", "must be from 1 to 10000000"));
        }
        if let Some(recorder) = &self.recorder {
            recorder.check()?;
        }
        self.filter.check()
    }

    /// What the tracer needs to know of it.
    pub(crate) fn options(&self) -> Result<Options, FieldError> {
        Ok(Options {
            filter: self.filter.to_kernel()?,
            slow: Duration::from_millis(self.slow_ms),
            // A recorder has to know how an attempt began.
            starts: self.starts || self.recorder.is_some(),
            stacks: self.stacks,
            drops: self.drops,
            ..Options::default()
        })
    }
}

impl FilterRequest {
    fn check(&self) -> Result<(), FieldError> {
        let lengths = [
            ("pid", self.pid.len()),
            ("comm", self.comm.len()),
            ("uid", self.uid.len()),
            ("cgroup", self.cgroup.len()),
            ("netns", self.netns.len()),
            ("peer", self.peer.len()),
            ("peer_port", self.peer_port.len()),
            ("local_port", self.local_port.len()),
        ];
        if let Some((field, _)) = lengths.iter().find(|(_, len)| *len > Filter::MAX_VALUES) {
            return Err(wrong(&format!("filter.{field}"), format!("at most {} values", Filter::MAX_VALUES)));
        }
        if !self.comm.iter().all(|comm| Self::is_thread_name(comm)) {
            let problem = "a thread name has 1 to 15 bytes: the kernel keeps no more";
            return Err(wrong("filter.comm", problem));
        }
        Ok(())
    }

    /// Whether the kernel could keep this name.
    pub(crate) fn is_thread_name(comm: &str) -> bool {
        (1..=Filter::MAX_COMM).contains(&comm.len()) && !comm.contains('\0')
    }

    fn to_kernel(&self) -> Result<Filter, FieldError> {
        Ok(Filter {
            pids: self.pid.clone(),
            comms: self.comm.clone(),
            uids: self.uid.clone(),
            cgroups: self.cgroup.iter().map(Cgroup::id).collect::<Result<_, _>>()?,
            netns: self.netns.clone(),
            family: self.family.map(|family| match family {
                FamilyName::Ipv4 => Family::Ipv4,
                FamilyName::Ipv6 => Family::Ipv6,
            }),
            peers: self.peer.iter().map(|network| network.0).collect(),
            peer_ports: self.peer_port.iter().map(|ports| ports.0.clone()).collect(),
            local_ports: self.local_port.iter().map(|ports| ports.0.clone()).collect(),
        })
    }
}

/// Takes one value or a list of them.
fn one_or_many<'de, D: Deserializer<'de>, T: de::DeserializeOwned>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let values = match Value::deserialize(deserializer)? {
        Value::Array(values) => values,
        value => vec![value],
    };
    values.into_iter().map(|value| serde_json::from_value(value).map_err(de::Error::custom)).collect()
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FamilyName {
    Ipv4,
    Ipv6,
}

/// A cgroup by path below the cgroup root, or by id.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "Value", into = "Value")]
pub(crate) enum Cgroup {
    Path(String),
    Id(u64),
}

impl TryFrom<Value> for Cgroup {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        match value {
            Value::String(path) => Ok(Self::Path(path)),
            Value::Number(id) => id.as_u64().map(Self::Id).ok_or("a cgroup id is a whole number"),
            _ => Err("a cgroup is a path below the cgroup root, or an id"),
        }
    }
}

impl From<Cgroup> for Value {
    fn from(cgroup: Cgroup) -> Self {
        match cgroup {
            Cgroup::Path(path) => path.into(),
            Cgroup::Id(id) => id.into(),
        }
    }
}

impl Cgroup {
    fn id(&self) -> Result<u64, FieldError> {
        match self {
            Self::Id(id) => Ok(*id),
            Self::Path(path) => {
                cgroups::id_of(path).map_err(|error| wrong("filter.cgroup", format!("`{path}`: {error}")))
            }
        }
    }
}

/// A network, or a single address.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Network(pub(crate) IpNet);

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let network = text.parse::<IpNet>().ok();
        let address = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
        let wrong = || format!("`{text}` is no address and no network like 10.0.0.0/8 or 2001:db8::/32");
        network.or_else(address).map(Self).ok_or_else(wrong)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.0.to_string()
    }
}

/// A port, or a range of ports.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "Value", into = "Value")]
pub(crate) struct Ports(pub(crate) RangeInclusive<u16>);

impl TryFrom<Value> for Ports {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let text = match &value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            _ => value.to_string(),
        };
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|&port| port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self(first..=last)),
            _ => Err(format!("`{text}` is no port (1 to 65535) and no range like \"8000-9000\"")),
        }
    }
}

impl From<Ports> for Value {
    fn from(ports: Ports) -> Self {
        let (first, last) = ports.0.into_inner();
        if first == last { first.into() } else { format!("{first}-{last}").into() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(document: Value) -> FieldError {
        TraceRequest::from_json(document).unwrap_err()
    }

    #[test]
    fn every_field_may_be_left_out() {
        let request = TraceRequest::from_json(json!({})).unwrap();
        assert_eq!(request.options().unwrap(), Options::default());
    }

    #[test]
    fn one_value_and_a_list_of_one_mean_the_same() {
        let one = TraceRequest::from_json(json!({"filter": {"peer_port": 22, "peer": "10.0.0.1"}})).unwrap();
        let many = TraceRequest::from_json(json!({"filter": {"peer_port": ["22"], "peer": ["10.0.0.1/32"]}}));
        assert_eq!(one.options().unwrap(), many.unwrap().options().unwrap());
    }

    #[test]
    fn the_field_to_blame_is_named() {
        for (document, field) in [
            (json!([]), ""),
            (json!({"filter": []}), "filter"),
            (json!({"fliter": {}}), "fliter"),
            (json!({"filter": {"port": 22}}), "filter.port"),
            (json!({"filter": {"pid": "many"}}), "filter.pid"),
            (json!({"filter": {"pid": -1}}), "filter.pid"),
            (json!({"filter": {"comm": "sixteen-bytes-xx"}}), "filter.comm"),
            (json!({"filter": {"peer": "10.0.0.0/33"}}), "filter.peer"),
            (json!({"filter": {"peer_port": [22, "9-8"]}}), "filter.peer_port"),
            (json!({"filter": {"local_port": 70000}}), "filter.local_port"),
            (json!({"filter": {"family": "ipv5"}}), "filter.family"),
            (json!({"stacks": "yes"}), "stacks"),
            (json!({"slow_ms": 600_001}), "slow_ms"),
            (json!({"ttl_s": 0}), "ttl_s"),
            (json!({"max_events": 0}), "max_events"),
            (json!({"name": "x".repeat(101)}), "name"),
        ] {
            assert_eq!(refused(document.clone()).field, field, "{document}");
        }
    }

    #[test]
    fn a_request_is_shown_as_it_was_asked() {
        let filter = json!({"comm": ["nc"], "peer": ["10.0.0.0/8"], "peer_port": [22, "8000-9000"]});
        let request = TraceRequest::from_json(json!({ "filter": filter })).unwrap();
        assert_eq!(serde_json::to_value(&request.filter).unwrap(), filter);
    }
}
