//! The attempts of a trace that are held in memory, the newest first.

use std::{
    collections::{HashMap, VecDeque},
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
    /// In the order of their first events.
    held: VecDeque<Attempt>,
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
        let known = self.place(first_seq).map(|place| &mut self.held[place]);
        let is_pending = if let Some(attempt) = known {
            self.bytes -= attempt.newest.len();
            attempt.take(seq, head, event);
            attempt.is_pending()
        } else {
            let attempt = Attempt::begin(id, seq, head, event);
            let is_pending = attempt.is_pending();
            self.held.push_back(attempt);
            is_pending
        };
        if !is_pending {
            self.pending.remove(&id);
        }
        Some(first_seq)
    }

    /// Where the attempt is that began with this event. Most are asked for as soon as they are there.
    fn place(&self, first_seq: u64) -> Option<usize> {
        let newest = self.held.back()?.first_seq;
        if newest <= first_seq {
            return (newest == first_seq).then(|| self.held.len() - 1);
        }
        self.held.binary_search_by_key(&first_seq, |attempt| attempt.first_seq).ok()
    }

    /// The attempt that began with this event.
    pub(crate) fn get(&self, first_seq: u64) -> Option<&Attempt> {
        self.place(first_seq).map(|place| &self.held[place])
    }

    /// The attempts that began with these events, each once.
    pub(crate) fn these(&self, mut first_seqs: Vec<u64>) -> Vec<Attempt> {
        first_seqs.sort_unstable();
        first_seqs.dedup();
        first_seqs.into_iter().filter_map(|first_seq| self.get(first_seq).cloned()).collect()
    }

    /// Lets go of what is too much.
    pub(crate) fn trim(&mut self) {
        while self.held.len() > MAX_ATTEMPTS || self.bytes > MAX_BYTES {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.held.pop_front() {
            self.bytes -= oldest.newest.len();
            self.pending.remove(&oldest.id);
        }
    }

    /// Newest first, those that began before the event `before`.
    pub(crate) fn page(&self, before: Option<u64>, limit: usize) -> Vec<Attempt> {
        let before = before.unwrap_or(u64::MAX);
        let older = self.held.partition_point(|attempt| attempt.first_seq < before);
        self.held.range(..older).rev().take(limit).cloned().collect()
    }

    /// Those that were told of since this event.
    pub(crate) fn told_since(&self, seq: u64) -> Vec<Attempt> {
        self.held.iter().filter(|attempt| attempt.last_seq >= seq).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::sample;

    /// Takes an event of an attempt in.
    fn fold(attempts: &mut Attempts, seq: u64, event: &str, id: u64) -> Option<u64> {
        let Attempt { head, newest, .. } = sample(event, id);
        attempts.fold(seq, Arc::unwrap_or_clone(head), newest)
    }

    fn first_seqs(attempts: &[Attempt]) -> Vec<u64> {
        attempts.iter().map(|attempt| attempt.first_seq).collect()
    }

    #[test]
    fn attempts_are_found_by_where_they_began() {
        let mut attempts = Attempts::default();
        assert_eq!(fold(&mut attempts, 3, "connect.retransmit", 7), Some(3));
        assert_eq!(fold(&mut attempts, 5, "connect.failed", 8), Some(5));
        assert_eq!(fold(&mut attempts, 6, "connect.failed", 7), Some(3));
        // It has ended, so this is another one of that number.
        assert_eq!(fold(&mut attempts, 9, "connect.failed", 7), Some(9));
        let last_seq = |first_seq| attempts.get(first_seq).map(|attempt| attempt.last_seq);
        assert_eq!([3, 5, 9].map(last_seq), [Some(6), Some(5), Some(9)]);
        assert_eq!([2, 4, 10].map(last_seq), [None; 3]);
        assert_eq!(first_seqs(&attempts.these(vec![9, 3, 4, 9])), [3, 9]);
        assert_eq!(first_seqs(&attempts.page(None, 2)), [9, 5]);
        assert_eq!(first_seqs(&attempts.page(Some(9), 9)), [5, 3]);
        assert_eq!(first_seqs(&attempts.told_since(6)), [3, 9]);
    }

    #[test]
    fn the_oldest_leave_and_begin_anew() {
        let mut attempts = Attempts::default();
        for seq in 1..=MAX_ATTEMPTS as u64 + 1 {
            fold(&mut attempts, seq, "connect.retransmit", seq);
        }
        attempts.trim();
        assert!(attempts.get(1).is_none() && attempts.get(2).is_some());
        assert_eq!(fold(&mut attempts, 90_000, "connect.failed", 1), Some(90_000));
        let bytes: usize = attempts.held.iter().map(|attempt| attempt.newest.len()).sum();
        assert_eq!(attempts.bytes, bytes);
    }
}
