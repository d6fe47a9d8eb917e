//! The live ring of one trace: its newest events, as the JSON that every reader gets.

use std::{collections::VecDeque, sync::Arc};

use schemars::JsonSchema;
use serde::Serialize;

use super::SeqRange;
use crate::{event::EventBody, history::Line};

/// Events held. The oldest leave first; a reader that still wanted them is told of the gap.
pub(crate) const MAX_EVENTS: usize = 65_536;
/// Bytes of JSON held, whichever limit is met first.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// Sequence numbers start at 1 and have no holes: an event that was lost never had one.
pub(super) struct Log {
    first_seq: u64,
    bytes: usize,
    events: VecDeque<Line>,
    /// Where events are serialised: it has grown to the size that they have.
    buffer: Vec<u8>,
}

/// A run of events, as JSON, in order.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Arc<str>>,
    /// The `after` that continues.
    pub(crate) next_after: u64,
    pub(crate) first_seq: u64,
}

/// The event after the cursor has left the ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expired {
    /// The oldest one still there.
    pub(crate) first_seq: u64,
}

/// An event as the API shows it.
// It is `EventBody::write` that writes it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Event")]
pub(crate) struct Numbered<'a> {
    pub(crate) seq: u64,
    #[serde(flatten)]
    pub(crate) body: &'a EventBody,
}

impl Log {
    /// An empty one, whose first event will have this number.
    pub(super) fn starting_at(first_seq: u64) -> Self {
        Self { first_seq, bytes: 0, events: VecDeque::new(), buffer: Vec::new() }
    }

    pub(super) fn range(&self) -> SeqRange {
        SeqRange { first_seq: self.first_seq, next_seq: self.first_seq + self.events.len() as u64 }
    }

    /// Numbers an event and keeps it. Returns its number, and what is kept.
    pub(super) fn append(&mut self, body: &EventBody) -> (u64, Arc<str>) {
        let seq = self.range().next_seq;
        self.buffer.clear();
        body.write(seq, &mut self.buffer);
        // JSON is UTF-8.
        let json = Arc::<str>::from(std::str::from_utf8(&self.buffer).unwrap_or_default());
        self.bytes += json.len();
        self.events.push_back(Line { seq, time: body.time_unix_nano.0, json: Arc::clone(&json) });
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            self.drop_oldest();
        }
        (seq, json)
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.events.pop_front() {
            self.bytes -= oldest.json.len();
            self.first_seq += 1;
        }
    }

    /// Events from the number `from` on.
    pub(super) fn read(&self, from: u64, limit: usize) -> Result<Batch, Expired> {
        let SeqRange { first_seq, next_seq } = self.range();
        if from < first_seq {
            return Err(Expired { first_seq });
        }
        let skip = usize::try_from(from - first_seq).unwrap_or(usize::MAX);
        let events: Vec<_> =
            self.events.iter().skip(skip).take(limit).map(|line| Arc::clone(&line.json)).collect();
        let next_after = (from - 1).min(next_seq - 1) + events.len() as u64;
        Ok(Batch { events, next_after, first_seq })
    }

    /// The time from which on every event is held, when older ones have left.
    pub(super) fn whole_since(&self) -> Option<u64> {
        self.events.front().filter(|_| self.first_seq > 1).map(|oldest| oldest.time)
    }

    /// The events from the first one on that is of this time, in nanoseconds since 1970, or of a later one.
    pub(super) fn since(&self, time: u64) -> Vec<Line> {
        self.events.iter().skip_while(|line| line.time < time).cloned().collect()
    }
}
