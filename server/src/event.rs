//! Events as JSON: OpenTelemetry's names, nested. What is not known is absent.

mod origin;

use std::{net::SocketAddr, time::Duration};

use serde::Serialize;
use synscope_tracer::{
    Event, EventKind, Kernel, Owner,
    cgroups::Cgroups,
    errno_name, process,
    symbols::{Frame, Symbols},
};

use crate::diagnosis::{Diagnosis, diagnose};
use origin::{Origins, Program, Surroundings, surroundings};

/// One event, without its sequence number.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EventBody {
    pub(crate) time_unix_nano: UnixNano,
    pub(crate) event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<u64>,
    #[serde(flatten)]
    pub(crate) facts: Facts,
}

/// What an event says of its attempt.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Facts {
    pub(crate) network: Network,
    pub(crate) process: Process,
    #[serde(flatten)]
    surroundings: Surroundings,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ErrorType>,
    pub(crate) tcp: Tcp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) diagnosis: Option<Diagnosis>,
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

impl Serialize for UnixNano {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Network {
    transport: &'static str,
    r#type: &'static str,
    pub(crate) local: Endpoint,
    pub(crate) peer: Endpoint,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Endpoint {
    pub(crate) address: std::net::IpAddr,
    pub(crate) port: u16,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { address: address.ip(), port: address.port() }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Process {
    /// Number of the socket's network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns_name: Option<String>,
    /// Who called connect(); nobody on the passive side.
    #[serde(flatten)]
    pub(crate) caller: Option<Caller>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Caller {
    pub(crate) pid: u32,
    tid: u32,
    pub(crate) comm: String,
    user: User,
    cgroup: String,
    #[serde(flatten)]
    program: Program,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct User {
    id: u32,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ErrorType {
    pub(crate) r#type: String,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Tcp {
    pub(crate) connect: Connect,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Connect {
    pub(crate) start_unix_nano: UnixNano,
    pub(crate) duration_ms: f64,
    pub(crate) syn_retransmits: u16,
    #[serde(skip_serializing_if = "is_zero")]
    syn_unsent: u16,
    stale_peer: bool,
    challenges: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    soft_error: Option<String>,
    /// Why this host dropped a packet, in the kernel's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drop_reason: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(count: &u16) -> bool {
    *count == 0
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Stack {
    pub(crate) user: Vec<FrameJson>,
    pub(crate) kernel: Vec<FrameJson>,
}

#[derive(Clone, Debug, Serialize)]
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
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
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
            file: frame.file.map(|file| file.to_string_lossy().into_owned()),
            line: frame.line,
            inlined: frame.inlined,
        }
    }
}

/// Adds what the kernel's numbers stand for: symbols, processes, cgroups, namespaces. Reads files, so it belongs on a thread
/// that may block.
#[derive(Debug)]
pub(crate) struct Describer {
    kernel: Kernel,
    symbols: Symbols,
    cgroups: Cgroups,
    origins: Origins,
}

impl Describer {
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self { kernel, symbols: Symbols::new(), cgroups: Cgroups::new(), origins: Origins::default() }
    }

    pub(crate) fn describe(&mut self, event: &Event) -> EventBody {
        // First of all: a process that failed to connect may not be there for long.
        let process = self.origins.process(event);
        let process = process.as_deref();
        let caller = event.owner.map(|owner| self.caller(&owner, process));
        let netns = (event.netns != 0).then_some(event.netns);
        let (cause, errno, soft_error) = match event.kind {
            EventKind::Failed(failure) => {
                (Some(failure.cause.name()), non_zero(failure.errno), non_zero(failure.soft_error))
            }
            _ => (None, None, None),
        };
        let facts = Facts {
            network: Network {
                transport: "tcp",
                r#type: if event.peer.is_ipv4() { "ipv4" } else { "ipv6" },
                local: event.local.into(),
                peer: event.peer.into(),
            },
            surroundings: caller
                .as_ref()
                .map(|caller| surroundings(&caller.cgroup, process))
                .unwrap_or_default(),
            process: Process {
                netns,
                netns_name: netns.and_then(|netns| self.origins.netns_name(netns)),
                caller,
            },
            error: errno.map(|errno| ErrorType { r#type: errno_name(errno) }),
            tcp: Tcp {
                connect: Connect {
                    start_unix_nano: UnixNano(event.start_unix_ns),
                    duration_ms: milliseconds(event.duration),
                    syn_retransmits: event.syn_retransmits,
                    syn_unsent: event.syn_unsent,
                    stale_peer: event.challenges > 0,
                    challenges: event.challenges,
                    cause,
                    errno,
                    soft_error: soft_error.map(errno_name),
                    drop_reason: self.drop_reason(event),
                },
            },
            diagnosis: diagnose(event),
            stack: self.stack(event, process),
        };
        EventBody {
            time_unix_nano: UnixNano(event.time_unix_ns),
            event: event_name(&event.kind),
            attempt: event.attempt,
            facts,
        }
    }

    /// By name where the kernel's BTF has one, else by number; none where the kernel gives no reasons.
    fn drop_reason(&self, event: &Event) -> Option<String> {
        match event.kind {
            EventKind::Dropped { reason: 0 } => None,
            EventKind::Dropped { reason } => Some(
                self.kernel.layout().drop_reason(reason).map_or_else(|| reason.to_string(), str::to_owned),
            ),
            _ => None,
        }
    }

    fn caller(&mut self, owner: &Owner, process: Option<&process::Process>) -> Caller {
        let cgroup = self.cgroups.path(owner.cgroup).map(str::to_owned);
        let cgroup = cgroup.or_else(|| process?.cgroup.clone());
        Caller {
            pid: owner.pid,
            tid: owner.tid,
            comm: owner.comm(),
            user: User { id: owner.uid },
            cgroup: cgroup.unwrap_or_else(|| format!("id:{}", owner.cgroup)),
            program: process.map(Program::from).unwrap_or_default(),
        }
    }

    fn stack(&mut self, event: &Event, process: Option<&process::Process>) -> Option<Stack> {
        let stacks = event.stacks.as_ref()?;
        let json = |frames: Vec<Frame>| frames.into_iter().map(FrameJson::from).collect();
        Some(Stack {
            user: json(self.symbols.user(process, &stacks.user)),
            kernel: json(self.symbols.kernel(&stacks.kernel)),
        })
    }
}

fn event_name(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::Started => "connect.start",
        EventKind::Retransmitted => "connect.retransmit",
        EventKind::Challenged => "connect.challenge",
        EventKind::Established => "connect.established",
        EventKind::Failed(_) => "connect.failed",
        EventKind::Dropped { .. } => "skb.drop",
        EventKind::SynAckRetransmitted => "accept.retransmit",
    }
}

fn non_zero(errno: i32) -> Option<i32> {
    (errno != 0).then_some(errno)
}

/// Milliseconds with microseconds behind the point: what a person can use.
fn milliseconds(duration: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "2^53 microseconds are 285 years")]
    let micros = duration.as_micros() as f64;
    micros / 1000.0
}
