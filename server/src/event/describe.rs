//! From the tracer's event to the one that is told.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use lru::LruCache;
use synscope_tracer::{
    Code, Event, EventKind, Kernel, Owner,
    cgroups::Cgroups,
    errno_name,
    process::{self, Processes},
    symbols::{Frame, Symbols},
};

use super::{
    Caller, Connect, ErrorType, EventBody, EventName, Facts, Network, Process, Stack, Tcp, UnixNano, User,
    Who,
    diagnosis::diagnose,
    inquiry::Inquiry,
    origin::{Origins, Program, surroundings},
    relations::Relations,
};

/// Callers of which it is remembered for a second who they are. Beyond, those that were not seen for the longest are
/// put together anew.
const CALLERS: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Adds what the kernel's numbers stand for: symbols, processes, cgroups, namespaces. Reads files, so it belongs on a thread
/// that may block.
pub(crate) struct Describer {
    kernel: Kernel,
    symbols: Symbols,
    cgroups: Cgroups,
    origins: Origins,
    relations: Relations,
    inquiry: Inquiry,
    known: LruCache<(Option<Owner>, u32), Known>,
}

/// Looks at the callers of events that were just read, before anything else is done with them: a process that
/// failed to connect may not be there for long.
pub(crate) fn look(processes: &Processes, events: &[Event]) {
    for (owner, event) in callers(events) {
        processes.at(owner.pid, event.start_unix_ns, event.code.as_deref());
    }
}

/// True when [`look`] has nothing to read.
pub(crate) fn are_known(processes: &Processes, events: &[Event]) -> bool {
    let is_known = |(owner, event): (Owner, &Event)| {
        processes.is_known(owner.pid, event.start_unix_ns, event.code.as_deref())
    };
    callers(events).all(is_known)
}

/// Who called: of events in a row that one process caused with the same code, the first.
fn callers(events: &[Event]) -> impl Iterator<Item = (Owner, &Event)> {
    let caller = |event: &Event| event.owner.map(|owner| owner.pid);
    let rows = events.chunk_by(move |one, next| caller(one) == caller(next) && one.code == next.code);
    rows.filter_map(|row| Some((row[0].owner?, &row[0])))
}

impl Describer {
    /// `processes` is what [`look`] was given, as soon as an event was read. May block.
    pub(crate) fn new(kernel: Kernel, processes: Arc<Processes>) -> Self {
        Self {
            kernel,
            symbols: Symbols::new(),
            cgroups: Cgroups::new(),
            origins: Origins::new(processes),
            relations: Relations::new(),
            inquiry: Inquiry::new(),
            known: LruCache::new(CALLERS),
        }
    }

    /// Everything that is known of an event, now that it is told.
    pub(crate) fn describe(&mut self, mut event: Event) -> EventBody {
        let event = &mut event;
        let process = self.origins.process(event);
        let own = |code: &Arc<Code>| process.as_ref().is_none_or(|process| process.may_own(code));
        event.code = event.code.take().filter(own);
        let who = self.who(event, process.as_ref());
        let process = process.as_deref();
        let drop_reason = self.drop_reason(event);
        let related = self.relations.relate(event, drop_reason.as_deref());
        let failure = match event.kind {
            EventKind::Failed(failure) => Some(failure),
            _ => None,
        };
        let errno = failure.and_then(|failure| non_zero(failure.errno));
        let soft_error = failure.and_then(|failure| non_zero(failure.soft_error));
        let facts = Facts {
            network: Network {
                transport: "tcp",
                r#type: if event.peer.is_ipv4() { "ipv4" } else { "ipv6" },
                local: event.local.into(),
                peer: event.peer.into(),
            },
            who,
            error: errno.map(|errno| ErrorType { r#type: errno_name(errno) }),
            tcp: Tcp {
                connect: Connect {
                    start_unix_nano: UnixNano(event.start_unix_ns),
                    duration_ms: milliseconds(event.duration),
                    syn_retransmits: event.syn_retransmits,
                    syn_unsent: event.syn_unsent,
                    stale_peer: event.challenges > 0,
                    challenges: event.challenges,
                    cause: failure.map(|failure| failure.cause.name()),
                    errno,
                    soft_error: soft_error.map(errno_name),
                    icmp: failure.and_then(|failure| failure.icmp).map(Into::into),
                    drop_reason,
                },
            },
            diagnosis: diagnose(event),
            found: self.inquiry.ask(event),
            related,
            stack: self.stack(event, process),
        };
        EventBody {
            time_unix_nano: UnixNano(event.time_unix_ns),
            event: event_name(&event.kind),
            attempt: event.attempt,
            facts,
        }
    }

    /// Events that were told without asking around, because of what asking may cost.
    pub(crate) fn skipped(&self) -> u64 {
        self.inquiry.skipped()
    }

    /// Gives back what is not needed while nothing happens.
    pub(crate) fn rest(&mut self) {
        self.inquiry.rest();
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

    /// Who asked, as put together for the caller's last event if that is not long ago.
    fn who(&mut self, event: &Event, process: Option<&Arc<process::Process>>) -> Arc<Who> {
        let caller = (event.owner, event.netns);
        if let Some(known) = self.known.get(&caller).filter(|known| known.holds(event, process)) {
            return Arc::clone(&known.who);
        }
        let who = Arc::new(self.put_together(event, process.map(Arc::as_ref)));
        let known = Known {
            who: Arc::clone(&who),
            process: process.cloned(),
            code: event.code.clone(),
            at_unix_ns: event.time_unix_ns,
        };
        self.known.put(caller, known);
        who
    }

    fn put_together(&mut self, event: &Event, process: Option<&process::Process>) -> Who {
        let caller = event.owner.map(|owner| self.caller(&owner, process, event.code.as_deref()));
        let netns = (event.netns != 0).then_some(event.netns);
        let surroundings = caller.as_ref().map(|caller| surroundings(&caller.cgroup, process));
        let netns_name = netns.and_then(|netns| self.origins.netns_name(netns));
        Who::new(Process { netns, netns_name, caller }, surroundings.unwrap_or_default())
    }

    fn caller(&mut self, owner: &Owner, process: Option<&process::Process>, code: Option<&Code>) -> Caller {
        let cgroup = self.cgroups.path(owner.cgroup).map(str::to_owned);
        let cgroup = cgroup.or_else(|| process?.cgroup.clone());
        Caller {
            pid: owner.pid,
            tid: owner.tid,
            comm: owner.comm(),
            user: User { id: owner.uid },
            cgroup: cgroup.unwrap_or_else(|| format!("id:{}", owner.cgroup)),
            program: Program::of(process, code),
        }
    }

    fn stack(&mut self, event: &Event, process: Option<&process::Process>) -> Option<Stack> {
        let stacks = event.stacks.as_ref()?;
        let json = |frames: Vec<Frame>| frames.into_iter().map(super::FrameJson::from).collect();
        Some(Stack {
            user: json(self.symbols.user(process, event.code.as_deref(), &stacks.user)),
            kernel: json(self.symbols.kernel(&stacks.kernel)),
        })
    }
}

/// What was put together for an event of a caller.
struct Known {
    who: Arc<Who>,
    process: Option<Arc<process::Process>>,
    code: Option<Arc<Code>>,
    at_unix_ns: u64,
}

impl Known {
    /// Names of cgroups and namespaces are looked up anew after a second.
    fn holds(&self, event: &Event, process: Option<&Arc<process::Process>>) -> bool {
        const HOLDS_NS: u64 = 1_000_000_000;
        self.process.as_ref().map(Arc::as_ptr) == process.map(Arc::as_ptr)
            && self.code.as_ref().map(Arc::as_ptr) == event.code.as_ref().map(Arc::as_ptr)
            && event.time_unix_ns.abs_diff(self.at_unix_ns) < HOLDS_NS
    }
}

fn event_name(kind: &EventKind) -> EventName {
    match kind {
        EventKind::Started => EventName::Start,
        EventKind::Retransmitted => EventName::Retransmit,
        EventKind::Challenged => EventName::Challenge,
        EventKind::Established => EventName::Established,
        EventKind::Failed(_) => EventName::Failed,
        EventKind::Dropped { .. } => EventName::Drop,
        EventKind::SynAckRetransmitted => EventName::SynAckRetransmit,
    }
}

fn non_zero(errno: i32) -> Option<i32> {
    (errno != 0).then_some(errno)
}

/// Milliseconds with microseconds behind the point: what a person can use. Whoever compares with what events show has
/// to round as this does.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "2^53 microseconds are 285 years")]
    let micros = duration.as_micros() as f64;
    micros / 1000.0
}
