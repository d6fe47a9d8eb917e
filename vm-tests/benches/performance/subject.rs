//! What traces while a load runs: Synscope, or one of its peers.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aya::programs::{ProgramInfo, loaded_programs};
use serde_json::json;
use vm_tests::harness::{Api, Server};

use crate::empty::Empty;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/performance/peers/connects.bt");
const KPROBES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/performance/peers/kprobes.bt");
/// How long a peer may take to attach, in an emulated machine too.
const ATTACH_LIMIT: Duration = Duration::from_mins(1);
/// After its first program, a peer has attached all of them when no further one comes for so long.
const SETTLED: Duration = Duration::from_millis(300);

/// One way to trace connects.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    /// Default options, with or without stacks.
    Synscope { stacks: bool },
    /// Programs that do nothing, at these hooks.
    Empty(&'static [&'static str]),
    /// A command of another project, and where it comes from.
    Peer { name: &'static str, command: &'static [&'static str] },
}

const BPFTRACE: &str = "/usr/bin/bpftrace";
/// Name and command. Some need kprobes, which not every kernel has.
const PEERS: &[(&str, &[&str])] = &[
    ("bpftrace, starts and ends with stacks", &[BPFTRACE, SCRIPT]),
    ("bpftrace, three kprobes with stacks", &[BPFTRACE, KPROBES]),
    ("bpftrace tcpretrans.bt", &[BPFTRACE, "/usr/sbin/tcpretrans.bt"]),
    ("libbpf-tools tcpstates", &["/usr/sbin/tcpstates"]),
    ("libbpf-tools tcpconnect", &["/usr/sbin/tcpconnect"]),
    ("libbpf-tools tcpconnlat", &["/usr/sbin/tcpconnlat"]),
    ("libbpf-tools tcptracer", &["/usr/sbin/tcptracer"]),
];

/// The peers that are installed.
pub(crate) fn peers() -> Vec<Subject> {
    let peers = PEERS.iter().filter(|(name, command)| {
        let there = command.iter().all(|file| Path::new(file).exists());
        if !there {
            eprintln!("left out, not installed: {name}");
        }
        there
    });
    peers.map(|(name, command)| Subject::Peer { name, command }).collect()
}

/// What the peers consist of.
pub(crate) fn files_of_peers() -> Vec<PathBuf> {
    PEERS.iter().flat_map(|(_, command)| command.iter().map(PathBuf::from)).collect()
}

impl Subject {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Synscope { stacks: true } => "Synscope with stacks".into(),
            Self::Synscope { stacks: false } => "Synscope without stacks".into(),
            Self::Empty(&[hook]) => format!("an empty program at {hook}"),
            Self::Empty(_) => "empty programs at all hooks of a trace".into(),
            Self::Peer { name, .. } => name.into(),
        }
    }

    /// Starts it; when this returns, its programs are attached.
    pub(crate) fn start(self, server: &Server) -> Result<Running> {
        let before = loaded();
        let tracing = match self {
            Self::Synscope { stacks } => {
                let reply = server.api().post("/api/v1/traces", &json!({"stacks": stacks}))?;
                reply.expect(201)?;
                Tracing::Trace { api: server.api().clone(), path: reply.location }
            }
            Self::Empty(hooks) => {
                let attached = hooks.iter().map(|hook| Empty::attach(hook)).collect::<Result<_>>()?;
                Tracing::Empty { _attached: attached }
            }
            Self::Peer { command, .. } => Tracing::Process(start_peer(command, &before)?),
        };
        let programs = loaded().difference(&before).copied().collect();
        Ok(Running { tracing, programs })
    }
}

/// Something that traces, until it is dropped.
pub(crate) struct Running {
    tracing: Tracing,
    /// The numbers of its programs.
    pub(crate) programs: BTreeSet<u32>,
}

enum Tracing {
    Trace { api: Api, path: String },
    Empty { _attached: Vec<Empty> },
    Process(Child),
}

impl Drop for Running {
    fn drop(&mut self) {
        match &mut self.tracing {
            Tracing::Trace { api, path } => drop(api.delete(path)),
            Tracing::Empty { .. } => {}
            Tracing::Process(child) => {
                // It is gone already, or it is killed: either way nothing is left.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

fn start_peer(command: &[&str], before: &BTreeSet<u32>) -> Result<Child> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {}", command[0]))?;
    let deadline = Instant::now() + ATTACH_LIMIT;
    let (mut count, mut since) = (0, Instant::now());
    while count == 0 || since.elapsed() < SETTLED {
        if let Some(status) = child.try_wait()? {
            bail!("{} ended with {status}", command[0]);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            bail!("{} did not attach within {ATTACH_LIMIT:?}", command[0]);
        }
        let found = loaded().difference(before).count();
        if found != count {
            (count, since) = (found, Instant::now());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(child)
}

/// All loaded programs. One that is unloaded between being listed and being asked is none of ours.
fn infos() -> impl Iterator<Item = ProgramInfo> {
    loaded_programs().filter_map(Result::ok)
}

fn loaded() -> BTreeSet<u32> {
    infos().map(|info| info.id()).collect()
}

/// How often programs ran, and the time that it took, as the kernel counts with `bpf_stats_enabled`.
pub(crate) fn spent(wanted: impl Fn(&ProgramInfo) -> bool) -> (u64, Duration) {
    let sum =
        |(runs, time): (u64, Duration), info: ProgramInfo| (runs + info.run_count(), time + info.run_time());
    infos().filter(wanted).fold((0, Duration::ZERO), sum)
}
