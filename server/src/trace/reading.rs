//! Reading a trace: from memory, and what has left memory from history.

use super::{Batch, Expired, SeqRange, Trace, lock};
use crate::{
    attempt::Attempt,
    event::UnixNano,
    filter::Filter,
    history::{HistoryError, Record},
};

/// Attempts looked at in one go.
const QUERY_PART: usize = 1_000;

/// Why events could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("events before {} are not there any more", .0.first_seq)]
    Expired(Expired),
    #[error(transparent)]
    History(#[from] HistoryError),
}

impl Trace {
    /// Sequence numbers that can be read now.
    pub(crate) fn range(&self) -> SeqRange {
        let SeqRange { first_seq, next_seq } = lock(&self.state).log.range();
        let kept = self.record.as_ref().and_then(Record::first_seq);
        SeqRange { first_seq: kept.map_or(first_seq, |kept| kept.min(first_seq)), next_seq }
    }

    /// Up to `limit` events from the number `from` on, or from the oldest one held. An error when that one is not
    /// there any more. A batch ends before the first event that is missing.
    pub(crate) fn read(&self, from: Option<u64>, limit: usize) -> Result<Batch, ReadError> {
        let range = self.range();
        let start = from.unwrap_or(range.first_seq);
        let in_memory = match lock(&self.state).log.read(start, limit) {
            Ok(batch) => return Ok(Batch { first_seq: range.first_seq, ..batch }),
            Err(Expired { first_seq }) => first_seq,
        };
        let kept = match &self.record {
            Some(record) => record.events(start, limit)?,
            None => Vec::new(),
        };
        let oldest = kept.first().map_or(in_memory, |&(seq, _)| seq.min(in_memory));
        match from {
            Some(from) if oldest > from => Err(ReadError::Expired(Expired { first_seq: oldest })),
            None if kept.is_empty() => {
                Ok(Batch { events: Vec::new(), next_after: in_memory - 1, first_seq: in_memory })
            }
            _ => {
                let run = kept.into_iter().zip(oldest..).take_while(|((seq, _), expected)| seq == expected);
                let events: Vec<_> = run.map(|((_, json), _)| json).collect();
                let next_after = oldest - 1 + events.len() as u64;
                Ok(Batch { events, next_after, first_seq: range.first_seq })
            }
        }
    }

    /// Up to `limit` attempts, newest first, that the filter means and that began before the event `before`; and
    /// the `before` that continues. Looks into JSON, and may take some tenths of a second.
    pub(crate) fn attempts(
        &self,
        filter: &Filter,
        mut before: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<Attempt>, Option<u64>), HistoryError> {
        let now = UnixNano::now();
        let mut meant: Vec<Attempt> = Vec::new();
        // What memory holds is newer than all that it let go of.
        let mut from_history: Option<&Record> = None;
        loop {
            // In parts, so that the trace itself never waits for a long query.
            let part = match from_history {
                None => lock(&self.state).attempts.page(before, QUERY_PART),
                Some(record) => record.attempts(filter, now, before, limit + 1)?,
            };
            let is_last = part.len() < if from_history.is_some() { limit + 1 } else { QUERY_PART };
            before = part.last().map(|last| last.first_seq).or(before);
            let fits =
                |attempt: &Attempt| filter.terms.is_empty() || filter.matches(&attempt.to_facts(), now);
            meant.extend(part.into_iter().filter(fits).take(limit + 1 - meant.len()));
            if meant.len() > limit {
                meant.truncate(limit);
                let last = meant.last().map(|last| last.first_seq);
                return Ok((meant, last));
            }
            match (&self.record, from_history) {
                _ if !is_last => {}
                (Some(record), None) => from_history = Some(record),
                _ => return Ok((meant, None)),
            }
        }
    }
}
