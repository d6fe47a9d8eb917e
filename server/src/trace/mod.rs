//! Traces: each has its own programs in the kernel, its own live ring, and readers with their own cursors.

mod attempts;
mod counters;
mod follow;
mod log;
mod manager;
mod queue;
mod reading;
mod recorder;
mod totals;
mod worker;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use synscope_tracer::CounterReader;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use follow::{Follower, News, Notice};
pub(crate) use log::{Batch, Expired, Numbered};
pub(crate) use manager::{CreateError, Manager};
pub(crate) use totals::Totals;

use crate::{
    attempt::{Attempt, Head},
    event::{EventBody, UnixNano},
    history::{History, Kept, Line, Record},
    otlp::Outlet,
    request::TraceRequest,
};
pub(crate) use attempts::Attempts;
pub(crate) use counters::CountersJson;
use counters::Figures;
use log::Log;
pub(crate) use reading::ReadError;
pub(crate) use recorder::Recorded;
use recorder::Recorder;
use totals::Tally;

/// One trace, shared by its worker, its readers and the API.
pub(crate) struct Trace {
    pub(crate) id: String,
    request: TraceRequest,
    created: UnixNano,
    figures: Mutex<Figures>,
    lost_queue: AtomicU64,
    /// Hook invocations that the kernel skipped, because the processor was in the program already.
    missed: AtomicU64,
    /// Events that were told without asking the kernel around, in a storm.
    unasked: AtomicU64,
    /// Entries of the attempt map that were swept out because their end was never seen.
    evicted: AtomicU64,
    /// Where its events are kept.
    record: Option<Record>,
    /// Where its attempts leave the host, once they have ended.
    outlet: Option<Outlet>,
    tally: Tally,
    state: Mutex<State>,
    /// Changes whenever there is something new to read; readers wait on it.
    progress: watch::Sender<Progress>,
    /// Why it is to stop; the worker waits on `stopping`.
    end_reason: Mutex<Option<EndReason>>,
    stopping: CancellationToken,
}

/// What grows while a trace runs.
struct State {
    log: Log,
    /// Events that history was to keep.
    meant: u64,
    attempts: Attempts,
    /// Decides what is kept, where not everything is.
    recorder: Option<Recorder>,
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
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, JsonSchema)]
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
    /// Somebody else detached its programs.
    Detached,
    /// The server died while it ran.
    Interrupted,
    /// It came from a file, as a whole.
    Imported,
    /// Its recorder has recorded.
    Recorded,
}

/// What history keeps of a trace besides its events.
pub(crate) struct Row<'a> {
    pub(crate) id: &'a str,
    /// As long as it has not ended.
    pub(crate) state: &'static str,
    pub(crate) created: UnixNano,
    pub(crate) ended: Option<(UnixNano, EndReason)>,
    pub(crate) request: &'a TraceRequest,
    pub(crate) counters: CountersJson,
    /// Events that history was to keep, as of the same moment as the counters.
    pub(crate) meant: u64,
    pub(crate) recorded: Option<Recorded>,
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
    /// When the recorder met its first match.
    #[serde(skip_serializing_if = "Option::is_none")]
    matched_unix_nano: Option<UnixNano>,
    /// From when on everything that the trace told is recorded: `before_s` before the match, or later where the live
    /// ring did not reach back so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_from_unix_nano: Option<UnixNano>,
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

/// Events handed to history at once.
const PIECE: usize = 1_000;

/// A poisoned lock means that a thread panicked with it; what it guards is counters and rings, which every
/// panic leaves whole, so reading on is right.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trace {
    fn new(
        id: String,
        request: TraceRequest,
        counters: CounterReader,
        record: Option<Record>,
        outlet: Option<Outlet>,
    ) -> Arc<Self> {
        let trace = Self::begin(id, request, Figures::Live(counters), record, 1);
        Arc::new(Self { outlet, ..trace })
    }

    fn begin(
        id: String,
        request: TraceRequest,
        figures: Figures,
        record: Option<Record>,
        next_seq: u64,
    ) -> Self {
        let recorder = request.recorder.as_ref().and_then(Recorder::new);
        let log = Log::starting_at(next_seq);
        let state = State { log, meant: 0, attempts: Attempts::default(), recorder, ended: None };
        Self {
            id,
            request,
            created: UnixNano::now(),
            figures: Mutex::new(figures),
            lost_queue: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            unasked: AtomicU64::new(0),
            record,
            outlet: None,
            tally: Tally::default(),
            state: Mutex::new(state),
            progress: watch::Sender::new(Progress { next_seq, ended: None }),
            end_reason: Mutex::new(None),
            stopping: CancellationToken::new(),
        }
    }

    /// One that is in history only.
    fn kept(kept: Kept, history: &Arc<History>) -> Arc<Self> {
        let Kept { key, id, created, ended, end_reason, request, counters, recorded, first_seq, next_seq } =
            kept;
        let record = Record::new(Arc::clone(history), key, first_seq);
        let figures = Figures::Kept(Box::new(counters));
        let trace = Self { created, ..Self::begin(id, request, figures, Some(record), next_seq) };
        {
            let mut state = lock(&trace.state);
            state.ended = Some((ended, end_reason));
            if let Some(recorder) = &mut state.recorder {
                recorder.recorded = recorded;
            }
        }
        trace.progress.send_modify(|progress| progress.ended = Some(end_reason));
        Arc::new(trace)
    }

    /// One that is read from a file, straight into history.
    pub(crate) fn importing(id: String, name: Option<String>, record: Record) -> Arc<Self> {
        let request = TraceRequest { name, ..TraceRequest::default() };
        Arc::new(Self::begin(id, request, Figures::Kept(Box::default()), Some(record), 1))
    }

    /// The file has come to its end, with so many events.
    pub(crate) fn imported(&self, events: u64, next_seq: u64) {
        *lock(&self.figures) = Figures::Kept(Box::new(CountersJson::imported(events)));
        lock(&self.state).log = Log::starting_at(next_seq);
        self.end_at(UnixNano::now(), EndReason::Imported);
    }

    /// Numbers events, keeps them in memory, and hands them to history. Returns the number that comes next.
    fn tell(&self, bodies: &[EventBody]) -> u64 {
        let expected = if self.record.is_some() { bodies.len() } else { 0 };
        let (mut lines, mut touched) = (Vec::with_capacity(expected), Vec::with_capacity(expected));
        let kept;
        let next_seq = {
            let mut state = lock(&self.state);
            let State { log, meant, attempts, recorder, .. } = &mut *state;
            for body in bodies {
                self.tally.count(body);
                let (seq, json) = log.append(body);
                let first_seq = attempts.fold(seq, Head::from(body), Arc::clone(&json));
                let attempt = first_seq.and_then(|first| attempts.get(first));
                if let (Some(outlet), Some(attempt)) = (&self.outlet, attempt) {
                    self.send(outlet, attempt);
                }
                if self.record.is_some() {
                    lines.push(Line { seq, time: body.time_unix_nano.0, json });
                    if let (Some(recorder), Some(attempt)) = (&mut *recorder, attempt) {
                        recorder.look(attempt);
                    }
                    touched.extend(first_seq);
                }
            }
            let touched = attempts.these(touched);
            kept = match recorder {
                Some(recorder) => recorder.choose(log, attempts, lines, touched),
                None => (lines, touched),
            };
            *meant += kept.0.len() as u64;
            attempts.trim();
            log.range().next_seq
        };
        self.keep(kept);
        next_seq
    }

    /// An attempt that has just ended leaves the host, unless all was well with it.
    #[expect(clippy::cast_precision_loss, reason = "ten minutes are exact")]
    fn send(&self, outlet: &Outlet, attempt: &Attempt) {
        if attempt.is_pending() {
            return;
        }
        let connect = &attempt.head.tcp.connect;
        let is_slow = connect.duration_ms >= self.request.slow_ms as f64;
        if attempt.is_failed() || connect.syn_retransmits > 0 || connect.stale_peer || is_slow {
            outlet.offer(&self.id, attempt.clone());
        }
    }

    /// Hands events to history. At a recorder's match they may be more than its queue takes at once, and the
    /// thread that describes events can wait.
    fn keep(&self, (mut lines, mut attempts): (Vec<Line>, Vec<Attempt>)) {
        let Some(record) = &self.record else { return };
        while lines.len() > PIECE {
            let piece: Vec<_> = lines.drain(..PIECE).collect();
            let last_seq = piece.last().map_or(0, |line| line.seq);
            let (whole, rest) =
                attempts.into_iter().partition(|attempt: &Attempt| attempt.last_seq <= last_seq);
            attempts = rest;
            record.keep(piece, whole);
            while record.is_busy() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if !lines.is_empty() {
            record.keep(lines, attempts);
        }
    }

    /// Whether a recorder has recorded what it was to record.
    fn is_recorded(&self) -> bool {
        lock(&self.state).recorder.as_ref().is_some_and(|recorder| recorder.is_done(UnixNano::now()))
    }

    /// Nothing more will be told.
    fn end_at(&self, time: UnixNano, reason: EndReason) {
        lock(&self.state).ended = Some((time, reason));
        // Before anybody who waits for the end may close history.
        if let Some(record) = &self.record {
            record.end();
        }
        self.progress.send_modify(|progress| progress.ended = Some(reason));
    }

    pub(crate) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// All of it is in history: what is there need not stay in memory.
    pub(crate) fn settle(&self) {
        if self.record.as_ref().is_some_and(|record| record.lost() == 0) {
            let mut state = lock(&self.state);
            state.log = Log::starting_at(state.log.range().next_seq);
            state.attempts = Attempts::default();
        }
    }

    /// As history keeps it.
    pub(crate) fn row(&self) -> Row<'_> {
        let (ended, recorded) = self.ended_and_recorded();
        let state = if matches!(*lock(&self.figures), Figures::Kept(_)) { "importing" } else { "running" };
        let (counters, meant) = self.counters_and_meant();
        Row {
            id: &self.id,
            state,
            created: self.created,
            ended,
            request: &self.request,
            counters,
            meant,
            recorded,
        }
    }

    fn ended_and_recorded(&self) -> (Option<(UnixNano, EndReason)>, Option<Recorded>) {
        let state = lock(&self.state);
        (state.ended, state.recorder.as_ref().and_then(|recorder| recorder.recorded))
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
        lock(&self.figures).unload();
    }

    pub(crate) fn is_running(&self) -> bool {
        self.progress.borrow().ended.is_none()
    }

    /// Tells when there is more to read.
    pub(crate) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(crate) fn counters(&self) -> CountersJson {
        self.counters_and_meant().0
    }

    /// The counters, and how many of the events that they count history was to keep.
    fn counters_and_meant(&self) -> (CountersJson, u64) {
        let mut counters = match &*lock(&self.figures) {
            Figures::Kept(whole) => return (CountersJson::clone(whole), 0),
            figures => figures.read(),
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (next_seq, meant) = {
            let state = lock(&self.state);
            (state.log.range().next_seq, state.meant)
        };
        counters.delivered = next_seq - 1;
        counters.lost.queue = count(&self.lost_queue);
        counters.lost.history = self.record.as_ref().map_or(0, Record::lost);
        counters.attempts.evicted = count(&self.evicted);
        counters.attempts.missed = count(&self.missed);
        counters.unasked = count(&self.unasked);
        (counters, meant)
    }

    pub(crate) fn to_json(&self) -> TraceJson {
        let (ended, recorded) = self.ended_and_recorded();
        let is_armed = self.request.recorder.is_some() && recorded.is_none();
        TraceJson {
            id: self.id.clone(),
            name: self.request.name.clone(),
            state: match ended {
                None if is_armed => "armed",
                None => "running",
                Some((_, EndReason::Error | EndReason::Detached)) => "failed",
                Some((_, EndReason::Interrupted)) => "interrupted",
                Some(_) => "stopped",
            },
            end_reason: ended.map(|(_, reason)| reason),
            created_unix_nano: self.created,
            ended_unix_nano: ended.map(|(time, _)| time),
            matched_unix_nano: recorded.map(|recorded| recorded.matched),
            recorded_from_unix_nano: recorded.map(|recorded| recorded.from),
            request: TraceRequest { name: None, ..self.request.clone() },
            events: self.range(),
            counters: self.counters(),
        }
    }
}
