//! The way to the writer. Events have a budget of bytes and never wait: when it is used up, they are refused.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
    mpsc::{self, Receiver, RecvTimeoutError},
};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::{attempt::Attempt, trace::Trace};

/// Bytes of events that may wait for the writer. What comes beyond is counted as `lost.history`.
pub(crate) const MAX_QUEUED_BYTES: usize = 32 << 20;
/// What an event or an attempt takes besides its JSON.
const OVERHEAD: usize = 512;

/// What the writer is asked to do.
pub(super) enum Message {
    /// Keep a row of this trace, until it has ended.
    Follow(Arc<Trace>),
    /// Keep events, and the attempts as they stand after them.
    Keep(Batch),
    /// A trace has ended, and has handed everything over.
    Ended(i64),
    /// Forget a trace, and say whether that worked.
    Delete(i64, oneshot::Sender<Result<(), String>>),
    /// Tell when everything before this is written.
    Flush(oneshot::Sender<()>),
    /// Write what there is and end.
    Close,
}

/// Events of one trace, in order.
pub(super) struct Batch {
    pub(super) key: i64,
    /// Since when they have been waiting.
    pub(super) since: Instant,
    pub(super) events: Vec<Line>,
    pub(super) attempts: Vec<Attempt>,
}

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) seq: u64,
    pub(crate) time: u64,
    pub(crate) json: Arc<str>,
}

impl Batch {
    fn bytes(&self) -> usize {
        let lines: usize = self.events.iter().map(|line| line.json.len()).sum();
        lines + (self.events.len() + self.attempts.len()) * OVERHEAD
    }
}

/// The end that everybody writes to.
#[derive(Clone)]
pub(super) struct Queue {
    sender: mpsc::Sender<Message>,
    queued: Arc<AtomicUsize>,
}

/// The writer's end.
pub(super) struct Queued {
    receiver: Receiver<Message>,
    queued: Arc<AtomicUsize>,
}

/// There was no room, or the writer is gone.
pub(super) struct Refused;

pub(super) fn queue() -> (Queue, Queued) {
    let (sender, receiver) = mpsc::channel();
    let queued = Arc::new(AtomicUsize::new(0));
    (Queue { sender, queued: Arc::clone(&queued) }, Queued { receiver, queued })
}

impl Queue {
    /// Everything but events: rare, and small.
    pub(super) fn send(&self, message: Message) -> Result<(), Refused> {
        self.sender.send(message).map_err(|_| Refused)
    }

    /// Takes the events when there is room for them.
    pub(super) fn offer(&self, batch: Batch) -> Result<(), Refused> {
        let bytes = batch.bytes();
        if self.queued.fetch_add(bytes, Ordering::Relaxed) + bytes > MAX_QUEUED_BYTES {
            self.queued.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Refused);
        }
        self.send(Message::Keep(batch))
    }

    /// How much of the room is taken.
    pub(super) fn bytes(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Whether more than half of the room is taken: who can wait, should.
    pub(super) fn is_busy(&self) -> bool {
        self.bytes() > MAX_QUEUED_BYTES / 2
    }
}

impl Queued {
    /// Waits for a first message, then gathers what comes until events have waited for `window`, up to a quarter of
    /// the room. `None` when there will be no more.
    pub(super) fn gather(&self, patience: Duration, window: Duration) -> Option<Vec<Message>> {
        let mut messages = match self.receiver.recv_timeout(patience) {
            Ok(message) => vec![message],
            Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        // Events that came while others were written have waited already.
        let since = match messages.last() {
            Some(Message::Keep(batch)) => batch.since,
            _ => Instant::now(),
        };
        let deadline = since + window;
        let mut bytes = 0;
        loop {
            match messages.last() {
                Some(Message::Keep(batch)) => bytes += batch.bytes(),
                Some(Message::Flush(_) | Message::Close) => return Some(messages),
                _ => {}
            }
            if bytes > MAX_QUEUED_BYTES / 4 {
                return Some(messages);
            }
            match self.receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(message) => messages.push(message),
                Err(_) => return Some(messages),
            }
        }
    }

    /// Gives the room of these messages back.
    pub(super) fn done(&self, messages: &[Message]) {
        let bytes: usize = messages
            .iter()
            .map(|message| match message {
                Message::Keep(batch) => batch.bytes(),
                _ => 0,
            })
            .sum();
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }
}
