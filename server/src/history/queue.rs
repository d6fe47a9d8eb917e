//! The way to the writer. Events have a budget of bytes and never wait: when it is used up, they are refused.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
    mpsc::{self, Receiver, RecvTimeoutError, TryRecvError},
};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::{attempt::Attempt, trace::Trace};

/// Bytes of events that may wait for the writer. What comes beyond is counted as `lost.history`.
pub(crate) const MAX_QUEUED_BYTES: usize = 32 << 20;
/// When so much has been gathered, it is written.
const ENOUGH: usize = MAX_QUEUED_BYTES / 4;
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
    taken: Arc<AtomicUsize>,
    writer: Arc<OnceLock<Thread>>,
}

/// The writer's end.
pub(super) struct Queued {
    receiver: Receiver<Message>,
    taken: Arc<AtomicUsize>,
    /// The thread that gathers, once it has.
    writer: Arc<OnceLock<Thread>>,
}

/// There was no room, or the writer is gone.
pub(super) struct Refused;

pub(super) fn queue() -> (Queue, Queued) {
    let (sender, receiver) = mpsc::channel();
    let (taken, writer) = (Arc::new(AtomicUsize::new(0)), Arc::new(OnceLock::new()));
    let queue = Queue { sender, taken: Arc::clone(&taken), writer: Arc::clone(&writer) };
    (queue, Queued { receiver, taken, writer })
}

impl Queue {
    /// Everything but events: rare, and small, and somebody may wait for what comes of it.
    pub(super) fn send(&self, message: Message) -> Result<(), Refused> {
        self.sender.send(message).map_err(|_| Refused)?;
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Takes the events when there is room for them.
    pub(super) fn offer(&self, batch: Batch) -> Result<(), Refused> {
        let bytes = batch.bytes();
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if taken > MAX_QUEUED_BYTES {
            self.taken.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Refused);
        }
        self.sender.send(Message::Keep(batch)).map_err(|_| Refused)?;
        if taken > ENOUGH {
            self.wake();
        }
        Ok(())
    }

    /// How much of the room is taken.
    pub(super) fn bytes(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether more than half of the room is taken: who can wait, should.
    pub(super) fn is_busy(&self) -> bool {
        self.bytes() > MAX_QUEUED_BYTES / 2
    }
}

impl Queued {
    /// Waits for a first message, then gathers what comes until events have waited for `window`, or there is [`ENOUGH`].
    /// `None` when there will be no more.
    pub(super) fn gather(&self, patience: Duration, window: Duration) -> Option<Vec<Message>> {
        let mut messages = match self.receiver.recv_timeout(patience) {
            Ok(message) => vec![message],
            Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        self.writer.get_or_init(thread::current);
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
            if bytes > ENOUGH {
                return Some(messages);
            }
            messages.push(loop {
                match self.receiver.try_recv() {
                    Ok(message) => break message,
                    Err(TryRecvError::Disconnected) => return Some(messages),
                    Err(TryRecvError::Empty) => {}
                }
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Some(messages);
                }
                // Not in the channel, where each of some hundred batches a second would wake it.
                thread::park_timeout(left);
            });
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
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}
