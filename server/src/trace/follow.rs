//! Following a trace: each reader has its own cursor on the live ring, and is told of what it missed. Whatever the
//! transport, readers get the same news in the same order.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, Interval, interval_at},
};
use tokio_util::sync::CancellationToken;

use super::{CountersJson, EndReason, Expired, Progress, ReadError, Trace};
use crate::event::UnixNano;

/// Events of one batch, at most.
const MAX_BATCH: usize = 256;
/// Bytes of one batch, at most, unless a single event is larger.
const MAX_BATCH_BYTES: usize = 256 << 10;
/// Events are told no sooner after the last ones, so that a storm does not cost a message each.
const GATHER: Duration = Duration::from_millis(1);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Counters that have changed are told after this time already.
const CHANGED_HEARTBEAT: Duration = Duration::from_secs(1);

/// What a reader is told.
pub(crate) enum News {
    /// In order, without a hole to what was told before; the first has this number.
    Events(u64, Vec<Arc<str>>),
    Notice(Notice),
}

/// What is told besides events.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Notice {
    /// These events will not come.
    Gap {
        from: u64,
        to: u64,
        count: u64,
        stage: &'static str,
    },
    Heartbeat {
        time_unix_nano: UnixNano,
        counters: CountersJson,
    },
    /// Nothing comes after it.
    End {
        reason: EndReason,
    },
}

impl Notice {
    pub(crate) fn to_json(&self) -> String {
        // Strings, numbers and maps with string keys always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// One reader of a trace.
pub(crate) struct Follower {
    trace: Arc<Trace>,
    /// The last sequence number that was told, or told as missing.
    cursor: u64,
    progress: watch::Receiver<Progress>,
    ticks: Interval,
    /// When events were told last.
    told_events: Option<Instant>,
    /// The counters that were told last, and when.
    told: Option<(CountersJson, Instant)>,
    state: State,
    shutdown: CancellationToken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Following,
    /// The last counters were told; the end is what is left.
    Ending(EndReason),
    Ended,
}

impl Follower {
    /// Follows from the event behind `after` on; 0 stands for the oldest one held.
    pub(crate) fn new(trace: Arc<Trace>, after: u64, shutdown: CancellationToken) -> Self {
        let range = trace.range();
        let cursor = match after {
            0 => range.first_seq - 1,
            after => after.min(range.next_seq - 1),
        };
        Self {
            cursor,
            progress: trace.watch(),
            ticks: interval_at(Instant::now(), CHANGED_HEARTBEAT),
            told_events: None,
            told: None,
            state: State::Following,
            trace,
            shutdown,
        }
    }

    /// Waits for what is to be told next; `None` after the end.
    pub(crate) async fn next(&mut self) -> Option<News> {
        loop {
            match self.state {
                State::Following => {}
                State::Ending(reason) => {
                    self.state = State::Ended;
                    return Some(News::Notice(Notice::End { reason }));
                }
                State::Ended => return None,
            }
            let seen = *self.progress.borrow_and_update();
            if self.cursor + 1 < seen.next_seq {
                return Some(self.advance(seen.next_seq));
            }
            if let Some(reason) = seen.ended {
                self.state = State::Ending(reason);
                return Some(self.heartbeat(self.trace.counters()));
            }
            tokio::select! {
                // The sender lives as long as the trace, which lives as long as this.
                _ = self.progress.changed() => self.gather().await,
                _ = self.ticks.tick() => {
                    let counters = self.trace.counters();
                    if !self.is_known(&counters) {
                        return Some(self.heartbeat(counters));
                    }
                }
            }
        }
    }

    async fn gather(&self) {
        if let Some(told) = self.told_events {
            tokio::time::sleep_until(told + GATHER).await;
        }
    }

    /// The next events before `next_seq`, or the gap where they were.
    fn advance(&mut self, next_seq: u64) -> News {
        let behind = next_seq - 1 - self.cursor;
        if behind > MAX_BATCH as u64 && self.shutdown.is_cancelled() {
            return self.gap(next_seq - 1, "shutdown");
        }
        match self.trace.read(Some(self.cursor + 1), MAX_BATCH) {
            Ok(mut batch) => {
                batch.events.truncate(fitting(&batch.events));
                let first = self.cursor + 1;
                self.cursor += batch.events.len() as u64;
                self.told_events = Some(Instant::now());
                News::Events(first, batch.events)
            }
            Err(ReadError::Expired(Expired { first_seq })) => self.gap(first_seq - 1, "ring"),
            Err(ReadError::History(error)) => {
                tracing::error!(trace = self.trace.id, "a reader is told of a gap: {error}");
                self.gap(next_seq - 1, "history")
            }
        }
    }

    fn gap(&mut self, to: u64, stage: &'static str) -> News {
        let from = self.cursor + 1;
        self.cursor = to;
        News::Notice(Notice::Gap { from, to, count: to + 1 - from, stage })
    }

    /// Whether these counters need not be told yet.
    fn is_known(&self, counters: &CountersJson) -> bool {
        self.told.as_ref().is_some_and(|(told, when)| told == counters && when.elapsed() < HEARTBEAT)
    }

    fn heartbeat(&mut self, counters: CountersJson) -> News {
        self.told = Some((counters.clone(), Instant::now()));
        News::Notice(Notice::Heartbeat { time_unix_nano: UnixNano::now(), counters })
    }
}

/// How many events from the first on make one batch.
fn fitting(events: &[Arc<str>]) -> usize {
    let mut bytes = 0;
    let fits = |event: &&Arc<str>| {
        bytes += event.len();
        bytes <= MAX_BATCH_BYTES
    };
    events.iter().take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_at_least_one_event_and_few_bytes() {
        let events = |sizes: &[usize]| sizes.iter().map(|size| "x".repeat(*size).into()).collect::<Vec<_>>();
        assert_eq!(fitting(&events(&[1, 2, 3])), 3);
        assert_eq!(fitting(&events(&[MAX_BATCH_BYTES - 1, 1, 1])), 2);
        assert_eq!(fitting(&events(&[MAX_BATCH_BYTES + 1, 1])), 1);
    }
}
