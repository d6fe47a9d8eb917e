//! The flight recorder: an armed trace keeps everything in memory only, until an attempt matches. Then what was told
//! shortly before goes to history, and what is told shortly after.

use std::time::Duration;

use super::{Attempts, log::Log};
use crate::{attempt::Attempt, event::UnixNano, filter::Filter, history::Line, request::RecorderRequest};

pub(super) struct Recorder {
    filter: Filter,
    before: Duration,
    after: Duration,
    /// When an attempt first matched.
    matched: Option<UnixNano>,
    /// What was recorded, once something has matched.
    pub(super) recorded: Option<Recorded>,
}

/// What a recorder has recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// When the first match occurred.
    pub(crate) matched: UnixNano,
    /// From when on everything that was told is kept. Later than was asked for when the live ring held no more.
    pub(crate) from: UnixNano,
}

impl Recorder {
    /// None for a filter that cannot be read, which the check of the request has refused.
    pub(super) fn new(request: &RecorderRequest) -> Option<Self> {
        let (before, after) = (Duration::from_secs(request.before_s), Duration::from_secs(request.after_s));
        Some(Self { filter: request.filter.parse().ok()?, before, after, matched: None, recorded: None })
    }

    /// Whether the time after the match is over.
    pub(super) fn is_done(&self, now: UnixNano) -> bool {
        self.until().is_some_and(|until| now.0 > until)
    }

    fn until(&self) -> Option<u64> {
        Some(self.recorded?.matched.0.saturating_add(nanos(self.after)))
    }

    /// Looks at an attempt as it stands after one more event.
    pub(super) fn look(&mut self, attempt: &Attempt) {
        if self.matched.is_none() && self.filter.matches(&attempt.to_facts(), UnixNano::now()) {
            self.matched = Some(attempt.head.time_unix_nano);
        }
    }

    /// What of the newest events is to be kept, with the attempts as they stand after them. At the match, that is
    /// much more than the newest.
    pub(super) fn choose(
        &mut self,
        log: &Log,
        attempts: &Attempts,
        mut lines: Vec<Line>,
        mut touched: Vec<Attempt>,
    ) -> (Vec<Line>, Vec<Attempt>) {
        if self.recorded.is_none() {
            let Some(matched) = self.matched else { return Default::default() };
            let wanted = matched.0.saturating_sub(nanos(self.before));
            let from = UnixNano(log.whole_since().map_or(wanted, |held| held.max(wanted)));
            self.recorded = Some(Recorded { matched, from });
            lines = log.since(wanted);
            let first_seq = lines.first().map_or(u64::MAX, |line| line.seq);
            touched = attempts.told_since(first_seq);
        }
        let until = self.until().unwrap_or(0);
        lines.retain(|line| line.time <= until);
        // An attempt is shown by its newest event, so that one must be there.
        let last_seq = lines.last().map_or(0, |line| line.seq);
        touched.retain(|attempt| attempt.last_seq <= last_seq);
        (lines, touched)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
