//! The attempts of a trace that are held in memory, the newest first.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::attempt::{Attempt, Head};

/// Attempts held of one trace. The oldest leave first.
const MAX_ATTEMPTS: usize = 20_000;
/// Bytes of JSON held with them, whichever limit is met first.
const MAX_BYTES: usize = 64 << 20;

/// Attempts by the order in which they appeared.
#[derive(Default)]
pub(crate) struct Attempts {
    /// By the sequence number of the attempt's first event, so that the order is that of appearance.
    by_first_seq: BTreeMap<u64, Attempt>,
    /// From an attempt that is still pending to its first sequence number.
    pending: HashMap<u64, u64>,
    bytes: usize,
}

impl Attempts {
    /// Takes one more event of an attempt in, and returns where the attempt began. Events of no attempt are the
    /// passive side's, and pass.
    pub(crate) fn fold(&mut self, seq: u64, head: Head, event: Arc<str>) -> Option<u64> {
        let id = head.attempt?;
        let first_seq = *self.pending.entry(id).or_insert(seq);
        self.bytes += event.len();
        let known = self.by_first_seq.get_mut(&first_seq);
        let is_pending = if let Some(attempt) = known {
            self.bytes -= attempt.newest.len();
            attempt.take(seq, head, event);
            attempt.is_pending()
        } else {
            let attempt = Attempt::begin(id, seq, head, event);
            let is_pending = attempt.is_pending();
            self.by_first_seq.insert(first_seq, attempt);
            is_pending
        };
        if !is_pending {
            self.pending.remove(&id);
        }
        Some(first_seq)
    }

    /// The attempt that began with this event, and where that was.
    pub(crate) fn get(&self, first_seq: u64) -> Option<(u64, Attempt)> {
        self.by_first_seq.get(&first_seq).map(|attempt| (first_seq, attempt.clone()))
    }

    /// Lets go of what is too much.
    pub(crate) fn trim(&mut self) {
        while self.by_first_seq.len() > MAX_ATTEMPTS || self.bytes > MAX_BYTES {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, oldest)) = self.by_first_seq.pop_first() {
            self.bytes -= oldest.newest.len();
            self.pending.remove(&oldest.id);
        }
    }

    /// Newest first, those that began before the event `before`.
    pub(crate) fn page(&self, before: Option<u64>, limit: usize) -> Vec<Attempt> {
        let older = self.by_first_seq.range(..before.unwrap_or(u64::MAX)).rev();
        older.take(limit).map(|(_, attempt)| attempt.clone()).collect()
    }

    /// Those that were told of since this event.
    pub(crate) fn told_since(&self, seq: u64) -> Vec<Attempt> {
        self.by_first_seq.values().filter(|attempt| attempt.last_seq >= seq).cloned().collect()
    }
}
