//! The accounting of a trace.

use std::ops::AddAssign;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use synscope_tracer::{CounterReader, Counters};

/// Where the programs' own counters are.
pub(super) enum Figures {
    /// In the kernel, as long as the trace runs.
    Live(CounterReader),
    /// As they were at the end; nothing of the trace is in the kernel any more.
    Last(Box<Counters>),
    /// In history: those of the whole trace.
    Kept(Box<CountersJson>),
}

/// The accounting of a trace: after a flush, produced = delivered + lost.ringbuf + lost.queue.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
pub(crate) struct CountersJson {
    pub(crate) produced: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: LostJson,
    /// Events told without asking netlink around them, because asking had taken its share of that second, or too many had
    /// asked.
    pub(crate) unasked: u64,
    pub(crate) attempts: AttemptCountsJson,
    pub(crate) connect_duration_log2_us: Vec<u64>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
pub(crate) struct LostJson {
    pub(crate) ringbuf: u64,
    pub(crate) queue: u64,
    /// Of the delivered ones.
    pub(crate) history: u64,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
pub(crate) struct AttemptCountsJson {
    pub(crate) started: u64,
    pub(crate) established: u64,
    pub(crate) failed: u64,
    pub(crate) quiet: u64,
    pub(crate) untracked: u64,
    pub(crate) replaced: u64,
    pub(crate) evicted: u64,
    pub(crate) missed: u64,
    pub(crate) faults: u64,
    pub(crate) code_unsent: u64,
}

impl CountersJson {
    /// Of events that were read from a file: as many as there are.
    pub(crate) fn imported(events: u64) -> Self {
        Self { produced: events, delivered: events, ..Self::default() }
    }
}

impl Figures {
    /// What the programs counted.
    pub(super) fn read(&self) -> CountersJson {
        match self {
            // The map is there while we hold it; reading it cannot fail but for a lack of memory.
            Self::Live(reader) => (&reader.read().unwrap_or_default()).into(),
            Self::Last(counters) => counters.as_ref().into(),
            Self::Kept(counters) => counters.as_ref().clone(),
        }
    }

    /// Takes the last figures out of the kernel, so that nothing of the trace stays there.
    pub(super) fn unload(&mut self) {
        if let Self::Live(reader) = self {
            *self = Self::Last(Box::new(reader.read().unwrap_or_default()));
        }
    }
}

impl From<&Counters> for CountersJson {
    fn from(kernel: &Counters) -> Self {
        let used = kernel.durations.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        Self {
            produced: kernel.produced,
            lost: LostJson { ringbuf: kernel.lost_ringbuf, ..LostJson::default() },
            attempts: AttemptCountsJson {
                started: kernel.started,
                established: kernel.established,
                failed: kernel.failed,
                quiet: kernel.quiet,
                untracked: kernel.untracked,
                replaced: kernel.replaced,
                faults: kernel.faults,
                code_unsent: kernel.code_unsent,
                ..AttemptCountsJson::default()
            },
            connect_duration_log2_us: kernel.durations[..used].to_vec(),
            ..Self::default()
        }
    }
}

impl AddAssign<&Self> for CountersJson {
    fn add_assign(&mut self, other: &Self) {
        self.produced += other.produced;
        self.delivered += other.delivered;
        self.unasked += other.unasked;
        let LostJson { ringbuf, queue, history } = &mut self.lost;
        *ringbuf += other.lost.ringbuf;
        *queue += other.lost.queue;
        *history += other.lost.history;
        let (sum, more) = (&mut self.attempts, &other.attempts);
        sum.started += more.started;
        sum.established += more.established;
        sum.failed += more.failed;
        sum.quiet += more.quiet;
        sum.untracked += more.untracked;
        sum.replaced += more.replaced;
        sum.evicted += more.evicted;
        sum.missed += more.missed;
        sum.faults += more.faults;
        sum.code_unsent += more.code_unsent;
        let durations = &mut self.connect_duration_log2_us;
        durations.resize(durations.len().max(other.connect_duration_log2_us.len()), 0);
        for (sum, more) in durations.iter_mut().zip(&other.connect_duration_log2_us) {
            *sum += more;
        }
    }
}
