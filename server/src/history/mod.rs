//! What traces told, kept in a SQLite database: readable after a restart, bounded by age and size.
//!
//! One thread writes. It is handed events through a bounded queue that never makes anybody wait; what it could not
//! keep is counted, by trace, as `lost.history`. Reading has connections of its own.

mod blocks;
mod conditions;
mod directory;
mod import;
mod places;
mod queue;
mod reads;
mod retention;
mod schema;
mod status;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    attempt::Attempt,
    event::UnixNano,
    filter::Filter,
    trace::{Trace, lock},
};
use directory::Unusable;
pub(crate) use directory::make_directory;
pub(crate) use import::{Import, ImportError};
pub(crate) use queue::Line;
use queue::{Batch, Message, Queue};
pub(crate) use reads::Kept;
use reads::Readers;
pub(crate) use retention::Limits;
pub(crate) use status::{HistoryState, Status};
use writer::Writer;

/// What is written takes milliseconds. After so long the file system is to blame, and people are told.
const STALLED: Duration = Duration::from_secs(5);
/// How long ending waits for the writer.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// The history of this server.
pub(crate) struct History {
    shared: Arc<Shared>,
    /// None when nothing is kept between runs.
    store: Option<Store>,
}

/// What the writer and everybody else know.
struct Shared {
    status: Mutex<Status>,
    readers: Readers,
    /// Since when the writer has been at what it is doing; none while it waits for events.
    writing: Mutex<Option<Instant>>,
}

impl Shared {
    fn new(status: Status, readers: Readers) -> Arc<Self> {
        Arc::new(Self { status: Mutex::new(status), readers, writing: Mutex::default() })
    }
}

struct Store {
    queue: Queue,
    next_key: AtomicI64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// History could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    #[error("history: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("history: {0}")]
    Unavailable(String),
}

impl History {
    /// Nothing is kept, because nobody wants it.
    pub(crate) fn off() -> Self {
        Self::without_store(Status::off())
    }

    fn without_store(status: Status) -> Self {
        Self { shared: Shared::new(status, Readers::none()), store: None }
    }

    /// Opens the one in this directory. Where that cannot be, traces are in memory only, and the status says why.
    pub(crate) fn open(directory: &Path, limits: Limits) -> Self {
        Self::try_open(directory, limits).unwrap_or_else(|Unusable { detail, remedy }| {
            tracing::warn!("traces are kept in memory only: {detail}; remedy: {remedy}");
            Self::without_store(Status::memory(detail, remedy))
        })
    }

    fn try_open(directory: &Path, limits: Limits) -> Result<Self, Unusable> {
        let opened = directory::open(directory)?;
        let unusable = |error: rusqlite::Error| Unusable::at(directory, &error);
        let next_key = reads::last_key(&opened.connection).map_err(unusable)? + 1;
        let mut status = Status::recording(directory);
        opened.aside.iter().for_each(|aside| status.began_anew(aside));
        let shared = Shared::new(status, Readers::of(&opened.file));
        let (queue, queued) = queue::queue();
        let writer = Writer::start(opened, queued, Arc::clone(&shared), limits)
            .map_err(|error| Unusable::at(directory, &error))?;
        let store = Store { queue, next_key: next_key.into(), writer: Mutex::new(Some(writer)) };
        Ok(Self { shared, store: Some(store) })
    }

    pub(crate) fn status(&self) -> Status {
        let mut status = lock(&self.shared.status).clone();
        if lock(&self.shared.writing).is_some_and(|since| since.elapsed() > STALLED) {
            status.stall();
        }
        status
    }

    /// Bytes of events that wait to be written.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.store.as_ref().map_or(0, |store| store.queue.bytes())
    }

    /// A place for one more trace; none when nothing is kept.
    pub(crate) fn record(self: &Arc<Self>) -> Option<Record> {
        let key = self.store.as_ref()?.next_key.fetch_add(1, Ordering::Relaxed);
        Some(Record::new(Arc::clone(self), key, 0))
    }

    /// From now on, until it has ended, the trace has a row.
    pub(crate) fn follow(&self, trace: &Arc<Trace>) {
        self.send(Message::Follow(Arc::clone(trace)));
    }

    fn send(&self, message: Message) {
        // Without a writer there is nothing to tell.
        let _ = self.store.as_ref().map(|store| store.queue.send(message));
    }

    /// Traces of earlier runs and those that memory has let go of, newest first.
    pub(crate) fn list(&self) -> Result<Vec<Kept>, HistoryError> {
        if self.store.is_none() {
            return Ok(Vec::new());
        }
        self.shared.readers.with(reads::list)
    }

    /// One of them.
    pub(crate) fn get(&self, id: &str) -> Result<Option<Kept>, HistoryError> {
        if self.store.is_none() {
            return Ok(None);
        }
        self.shared.readers.with(|connection| reads::get(connection, id))
    }

    /// Forgets a trace.
    pub(crate) async fn delete(&self, key: i64) -> Result<(), HistoryError> {
        let (done, deleted) = oneshot::channel();
        self.send(Message::Delete(key, done));
        deleted.await.unwrap_or_else(|_| Err("the writer is gone".into())).map_err(HistoryError::Unavailable)
    }

    /// Waits until everything handed over so far is written, or counted as lost.
    pub(crate) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        self.send(Message::Flush(done));
        let _ = flushed.await;
    }

    /// Writes what there is and ends.
    pub(crate) async fn close(&self) {
        self.send(Message::Close);
        let Some(writer) = self.store.as_ref().and_then(|store| lock(&store.writer).take()) else { return };
        let ended = tokio::task::spawn_blocking(move || writer.join());
        if tokio::time::timeout(LAST_WRITES, ended).await.is_err() {
            tracing::error!("history could not be written to its end in {LAST_WRITES:?}");
        }
    }
}

/// The place of one trace in history.
pub(crate) struct Record {
    history: Arc<History>,
    pub(crate) key: i64,
    lost: AtomicU64,
    /// Events that were committed.
    kept: AtomicU64,
    /// The oldest event there, 0 while there is none.
    first_seq: AtomicU64,
}

impl Record {
    pub(crate) fn new(history: Arc<History>, key: i64, first_seq: u64) -> Self {
        Self { history, key, lost: AtomicU64::new(0), kept: AtomicU64::new(0), first_seq: first_seq.into() }
    }

    /// Hands events over, with the attempts as they stand after them. Never waits: what the queue cannot take is
    /// lost to history, and counted.
    pub(crate) fn keep(&self, events: Vec<Line>, attempts: Vec<Attempt>) {
        let count = events.len() as u64;
        let batch = Batch { key: self.key, since: Instant::now(), events, attempts };
        let kept = self.history.store.as_ref().map(|store| store.queue.offer(batch));
        if !matches!(kept, Some(Ok(()))) {
            self.lose(count);
        }
    }

    /// Whoever can wait should, before handing more over.
    pub(crate) fn is_busy(&self) -> bool {
        self.history.store.as_ref().is_some_and(|store| store.queue.is_busy())
    }

    /// The trace has ended, and has handed everything over.
    pub(crate) fn end(&self) {
        self.history.send(Message::Ended(self.key));
    }

    /// Events that could not be kept.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Events that were committed.
    fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    fn lose(&self, events: u64) {
        self.lost.fetch_add(events, Ordering::Relaxed);
    }

    /// These events are there.
    fn committed(&self, events: &[Line]) {
        let first = events.first().map_or(0, |line| line.seq);
        let _ = self.first_seq.compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
        self.kept.fetch_add(events.len() as u64, Ordering::Relaxed);
    }

    /// The database that had them was set aside.
    fn lose_kept(&self) {
        self.first_seq.store(0, Ordering::Relaxed);
        self.lose(self.kept.swap(0, Ordering::Relaxed));
    }

    /// The oldest event that was kept; it may have gone since.
    pub(crate) fn first_seq(&self) -> Option<u64> {
        Some(self.first_seq.load(Ordering::Relaxed)).filter(|&seq| seq > 0)
    }

    /// Up to `limit` events from the number `from` on, or from the first one after it that is kept.
    pub(crate) fn events(&self, from: u64, limit: usize) -> Result<Vec<(u64, Arc<str>)>, HistoryError> {
        self.history.shared.readers.with(|connection| reads::events(connection, self.key, from, limit))
    }

    /// Up to `limit` attempts, newest first, that began before the event `before`; at least those that the filter
    /// means.
    pub(crate) fn attempts(
        &self,
        filter: &Filter,
        now: UnixNano,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Attempt>, HistoryError> {
        let readers = &self.history.shared.readers;
        readers.with(|connection| reads::attempts(connection, self.key, filter, now, before, limit))
    }
}
