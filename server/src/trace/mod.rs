//! Traces: each has its own programs in the kernel, its own live ring, and readers with their own cursors.

mod attempts;
mod log;
mod manager;
mod worker;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use schemars::JsonSchema;
use serde::Serialize;
use synscope_tracer::{CounterReader, Counters};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use log::{Batch, Expired, Numbered};
pub(crate) use manager::{CreateError, Manager};

use crate::{attempt::Attempt, event::UnixNano, filter::Filter, request::TraceRequest};
use attempts::Attempts;
use log::Log;

/// One trace, shared by its worker, its readers and the API.
pub(crate) struct Trace {
    pub(crate) id: String,
    request: TraceRequest,
    created: UnixNano,
    counters: Mutex<Figures>,
    lost_queue: AtomicU64,
    /// Hook invocations that the kernel skipped, because the processor was in the program already.
    missed: AtomicU64,
    /// Events that were told without asking the kernel around, in a storm.
    unasked: AtomicU64,
    /// Entries of the attempt map that were swept out because their end was never seen.
    evicted: AtomicU64,
    state: Mutex<State>,
    /// Changes whenever there is something new to read; readers wait on it.
    progress: watch::Sender<Progress>,
    /// Why it is to stop; the worker waits on `stopping`.
    end_reason: Mutex<Option<EndReason>>,
    stopping: CancellationToken,
}

/// The programs' own counters.
enum Figures {
    /// In the kernel, as long as the trace runs.
    Live(CounterReader),
    /// As they were at the end; nothing of the trace is in the kernel any more.
    Last(Counters),
}

impl Figures {
    fn read(&self) -> Counters {
        match self {
            // The map is there while we hold it; reading it cannot fail but for a lack of memory.
            Self::Live(reader) => reader.read().unwrap_or_default(),
            Self::Last(counters) => *counters,
        }
    }
}

/// What grows while a trace runs.
struct State {
    log: Log,
    attempts: Attempts,
    /// When and why it ended.
    ended: Option<(UnixNano, EndReason)>,
}

/// What readers wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Sequence number of the next event.
    pub(crate) next_seq: u64,
    /// Set when there will be no more.
    pub(crate) ended: Option<EndReason>,
}

/// Why a trace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EndReason {
    /// Somebody asked for it.
    Requested,
    /// Its time was up.
    Ttl,
    /// It told as many events as were asked for.
    MaxEvents,
    /// The server shut down.
    Shutdown,
    /// Reading from the kernel failed.
    Error,
}

/// A trace as the API shows it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TraceJson {
    id: String,
    name: Option<String>,
    state: &'static str,
    end_reason: Option<EndReason>,
    created_unix_nano: UnixNano,
    ended_unix_nano: Option<UnixNano>,
    #[serde(flatten)]
    request: TraceRequest,
    events: SeqRange,
    counters: CountersJson,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct SeqRange {
    pub(crate) first_seq: u64,
    pub(crate) next_seq: u64,
}

/// The accounting of a trace: after a flush, produced = delivered + everything lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct CountersJson {
    produced: u64,
    delivered: u64,
    lost: LostJson,
    /// Events told without asking netlink around them, because too many failed in the same second.
    unasked: u64,
    attempts: AttemptCountsJson,
    connect_duration_log2_us: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct LostJson {
    ringbuf: u64,
    queue: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct AttemptCountsJson {
    started: u64,
    established: u64,
    failed: u64,
    quiet: u64,
    untracked: u64,
    replaced: u64,
    evicted: u64,
    missed: u64,
    faults: u64,
}

/// Attempts that a query looks at before it lets go of the lock.
const QUERY_PART: usize = 256;

/// A poisoned lock means that a thread panicked with it; what it guards is counters and rings, which every
/// panic leaves whole, so reading on is right.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trace {
    fn new(id: String, request: TraceRequest, counters: CounterReader) -> Arc<Self> {
        let state = State { log: Log::new(), attempts: Attempts::default(), ended: None };
        let progress = Progress { next_seq: state.log.range().next_seq, ended: None };
        Arc::new(Self {
            id,
            request,
            created: UnixNano::now(),
            counters: Mutex::new(Figures::Live(counters)),
            lost_queue: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            unasked: AtomicU64::new(0),
            state: Mutex::new(state),
            progress: watch::Sender::new(progress),
            end_reason: Mutex::new(None),
            stopping: CancellationToken::new(),
        })
    }

    /// Asks it to stop and waits until its programs are unloaded and all they told is readable. The first
    /// reason stays.
    pub(crate) async fn stop(&self, reason: EndReason) {
        self.ask_to_stop(reason);
        // The sender lives as long as the trace, so waiting cannot fail.
        let _ = self.progress.subscribe().wait_for(|progress| progress.ended.is_some()).await;
    }

    fn ask_to_stop(&self, reason: EndReason) {
        lock(&self.end_reason).get_or_insert(reason);
        self.stopping.cancel();
    }

    /// Takes the last figures out of the kernel, so that nothing of the trace stays there.
    fn unload_counters(&self) {
        let mut counters = lock(&self.counters);
        *counters = Figures::Last(counters.read());
    }

    pub(crate) fn is_running(&self) -> bool {
        self.progress.borrow().ended.is_none()
    }

    /// Tells when there is more to read.
    pub(crate) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Sequence numbers that can be read now.
    pub(crate) fn range(&self) -> SeqRange {
        lock(&self.state).log.range()
    }

    /// Up to `limit` events from the number `from` on, or from the oldest one held; an error when that one
    /// has left the ring.
    pub(crate) fn read(&self, from: Option<u64>, limit: usize) -> Result<Batch, Expired> {
        lock(&self.state).log.read(from, limit)
    }

    /// Up to `limit` attempts, newest first, that the filter means and that began before the event `before`; and
    /// the `before` that continues. Looks into JSON, and may take some tenths of a second.
    pub(crate) fn attempts(
        &self,
        filter: &Filter,
        mut before: Option<u64>,
        limit: usize,
    ) -> (Vec<Attempt>, Option<u64>) {
        let now = UnixNano::now();
        let mut meant = Vec::new();
        loop {
            // In parts, so that the trace itself never waits for a long query.
            let (part, next) = lock(&self.state).attempts.page(before, QUERY_PART);
            let fits =
                |attempt: &Attempt| filter.terms.is_empty() || filter.matches(&attempt.to_facts(), now);
            meant.extend(part.into_iter().filter(fits).take(limit + 1 - meant.len()));
            before = next;
            if meant.len() > limit {
                meant.truncate(limit);
                let last = meant.last().map(|last: &Attempt| last.first_seq);
                return (meant, last);
            }
            if before.is_none() {
                return (meant, None);
            }
        }
    }

    pub(crate) fn counters(&self) -> CountersJson {
        let kernel = lock(&self.counters).read();
        let delivered = self.range().next_seq - 1;
        let Counters { produced, lost_ringbuf, started, established, failed, quiet, .. } = kernel;
        let used = kernel.durations.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        CountersJson {
            produced,
            delivered,
            lost: LostJson { ringbuf: lost_ringbuf, queue: self.lost_queue.load(Ordering::Relaxed) },
            attempts: AttemptCountsJson {
                started,
                established,
                failed,
                quiet,
                untracked: kernel.untracked,
                replaced: kernel.replaced,
                evicted: self.evicted.load(Ordering::Relaxed),
                missed: self.missed.load(Ordering::Relaxed),
                faults: kernel.faults,
            },
            unasked: self.unasked.load(Ordering::Relaxed),
            connect_duration_log2_us: kernel.durations[..used].to_vec(),
        }
    }

    pub(crate) fn to_json(&self) -> TraceJson {
        let (events, ended) = {
            let state = lock(&self.state);
            (state.log.range(), state.ended)
        };
        TraceJson {
            id: self.id.clone(),
            name: self.request.name.clone(),
            state: match ended {
                None => "running",
                Some((_, EndReason::Error)) => "failed",
                Some(_) => "stopped",
            },
            end_reason: ended.map(|(_, reason)| reason),
            created_unix_nano: self.created,
            ended_unix_nano: ended.map(|(time, _)| time),
            request: TraceRequest { name: None, ..self.request.clone() },
            events,
            counters: self.counters(),
        }
    }
}
