//! Attempts, folded from their events: one record each, the newest first.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::event::{EventBody, Facts, UnixNano};

/// Attempts held of one trace. The oldest leave first.
const MAX_ATTEMPTS: usize = 20_000;
/// Retransmit times held of one attempt; the kernel makes at most 127.
const MAX_RETRANSMITS: usize = 128;

#[derive(Default)]
pub(super) struct Attempts {
    /// By the sequence number of the attempt's first event, so that the order is that of appearance.
    by_first_seq: BTreeMap<u64, AttemptJson>,
    /// From an attempt that is still pending to its first sequence number.
    pending: HashMap<u64, u64>,
}

/// One attempt as the API shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AttemptJson {
    attempt: u64,
    state: &'static str,
    first_seq: u64,
    last_seq: u64,
    start_unix_nano: UnixNano,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_unix_nano: Option<UnixNano>,
    duration_ms: f64,
    retransmit_unix_nano: Vec<UnixNano>,
    #[serde(flatten)]
    facts: Facts,
}

impl Attempts {
    /// Takes one more event of an attempt in. Events of no attempt are the passive side's, and pass.
    pub(super) fn fold(&mut self, seq: u64, event: EventBody) {
        let Some(id) = event.attempt else { return };
        let first_seq = *self.pending.entry(id).or_insert(seq);
        let start = event.facts.tcp.connect.start_unix_nano;
        let attempt = self.by_first_seq.entry(first_seq).or_insert_with(|| AttemptJson {
            attempt: id,
            state: "pending",
            first_seq,
            last_seq: seq,
            start_unix_nano: start,
            end_unix_nano: None,
            duration_ms: 0.0,
            retransmit_unix_nano: Vec::new(),
            facts: event.facts.clone(),
        });
        attempt.last_seq = seq;
        attempt.duration_ms = event.facts.tcp.connect.duration_ms;
        attempt.facts = event.facts;
        match event.event {
            "connect.retransmit" if attempt.retransmit_unix_nano.len() < MAX_RETRANSMITS => {
                attempt.retransmit_unix_nano.push(event.time_unix_nano);
            }
            "connect.established" | "connect.failed" => {
                attempt.state = event.event.trim_start_matches("connect.");
                attempt.end_unix_nano = Some(event.time_unix_nano);
                self.pending.remove(&id);
            }
            _ => {}
        }
        if self.by_first_seq.len() > MAX_ATTEMPTS
            && let Some((_, oldest)) = self.by_first_seq.pop_first()
        {
            self.pending.remove(&oldest.attempt);
        }
    }

    /// Newest first, those that began before the event `before`; and the cursor that continues.
    pub(super) fn page(&self, before: Option<u64>, limit: usize) -> (Vec<AttemptJson>, Option<u64>) {
        let older = self.by_first_seq.range(..before.unwrap_or(u64::MAX)).rev();
        let page: Vec<_> = older.take(limit).map(|(_, attempt)| attempt.clone()).collect();
        let next = page.last().map(|last| last.first_seq);
        let more = next.is_some_and(|next| self.by_first_seq.range(..next).next().is_some());
        (page, next.filter(|_| more))
    }
}
