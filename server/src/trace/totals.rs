//! What traces add up to, for monitoring: figures that only ever grow while the server runs.

use std::sync::atomic::{AtomicU64, Ordering};

use synscope_tracer::Cause;

use super::{CountersJson, Trace};
use crate::event::{EventBody, EventName};

/// The figures of several traces. Causes stand in the order of [`Cause::ALL`], events in that of [`EventName::ALL`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) counters: CountersJson,
    pub(crate) causes: [u64; Cause::ALL.len()],
    pub(crate) events: [u64; EventName::ALL.len()],
}

impl Totals {
    pub(super) fn add(&mut self, trace: &Trace) {
        self.counters += &trace.counters();
        let Tally { causes, events } = &trace.tally;
        let told = self.causes.iter_mut().zip(causes).chain(self.events.iter_mut().zip(events));
        for (sum, figure) in told {
            *sum += figure.load(Ordering::Relaxed);
        }
    }
}

/// What a trace told, by kind and by cause.
#[derive(Debug, Default)]
pub(super) struct Tally {
    causes: [AtomicU64; Cause::ALL.len()],
    events: [AtomicU64; EventName::ALL.len()],
}

impl Tally {
    pub(super) fn count(&self, body: &EventBody) {
        self.events[body.event as usize].fetch_add(1, Ordering::Relaxed);
        let cause = body.facts.tcp.connect.cause;
        let place = Cause::ALL.iter().position(|known| Some(known.name()) == cause);
        if let Some(place) = place {
            self.causes[place].fetch_add(1, Ordering::Relaxed);
        }
    }
}
