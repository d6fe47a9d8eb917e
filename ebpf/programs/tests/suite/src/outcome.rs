//! What came of a case, in a form that both executions and the reference can be compared in.

use std::collections::{BTreeMap, BTreeSet};

use synscope_ebpf::record::{Attempt, Counters, Record, RecordWithStacks, Stack};
use zerocopy::FromBytes as _;

use crate::case::Index;

/// A stack: what the helper returned, and the frames that it filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Bytes, or a negative errno.
    pub length: i64,
    /// Innermost first.
    pub frames: Vec<u64>,
}

impl Walk {
    /// What the kernel makes of a stack when there is room for so many frames.
    pub fn of(stack: Result<Vec<u64>, i32>, room: usize) -> Self {
        match stack {
            Ok(mut frames) => {
                frames.truncate(room);
                Self { length: i64::try_from(frames.len() * 8).unwrap_or(i64::MAX), frames }
            }
            Err(errno) => Self { length: -i64::from(errno), frames: Vec::new() },
        }
    }
}

impl<const N: usize> From<&Stack<N>> for Walk {
    fn from(stack: &Stack<N>) -> Self {
        let used = usize::try_from(stack.length).unwrap_or(0) / 8;
        Self { length: stack.length, frames: stack.frames[..used.min(N)].to_vec() }
    }
}

/// A record that was sent, with user and kernel stack if the trace wants them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The record.
    pub record: Record,
    /// User stack, kernel stack.
    pub stacks: Option<(Walk, Walk)>,
}

impl Sent {
    /// Reads what lay in the ring buffer. `None` when it is of no known size.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if let Ok(both) = RecordWithStacks::read_from_bytes(bytes) {
            return Some(Self {
                record: both.record,
                stacks: Some(((&both.user).into(), (&both.kernel).into())),
            });
        }
        Some(Self { record: Record::read_from_bytes(bytes).ok()?, stacks: None })
    }
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// All records, in order.
    pub sent: Vec<Sent>,
    /// Over all processors.
    pub counters: Counters,
    /// Attempts under way at the end, by socket.
    pub pending: BTreeMap<Index, Attempt>,
    /// Sockets of which a user stack is kept at the end.
    pub stacks_kept: BTreeSet<Index>,
    /// Reads of foreign memory.
    pub reads: usize,
    /// Records that woke the reader.
    pub wakes: usize,
}

impl Outcome {
    /// The first difference, in words.
    pub fn difference(&self, expected: &Self) -> Option<String> {
        for (at, (sent, wanted)) in self.sent.iter().zip(&expected.sent).enumerate() {
            if sent != wanted {
                return Some(format!("record {at} is\n  {sent:?}\nand should be\n  {wanted:?}"));
            }
        }
        if self.sent.len() != expected.sent.len() {
            return Some(format!("{} records were sent instead of {}", self.sent.len(), expected.sent.len()));
        }
        if self.counters != expected.counters {
            let (ours, theirs) = (self.counters, expected.counters);
            return Some(format!("counters are\n  {ours:?}\nand should be\n  {theirs:?}"));
        }
        if self.pending != expected.pending {
            let (ours, theirs) = (&self.pending, &expected.pending);
            return Some(format!("under way are\n  {ours:?}\nand should be\n  {theirs:?}"));
        }
        let (ours, theirs) = (&self.stacks_kept, &expected.stacks_kept);
        if ours != theirs {
            return Some(format!("user stacks are kept of {ours:?} instead of {theirs:?}"));
        }
        let (ours, theirs) = (self.wakes, expected.wakes);
        if ours != theirs {
            return Some(format!("the reader was woken {ours} times instead of {theirs}"));
        }
        let (ours, theirs) = (self.reads, expected.reads);
        (ours != theirs).then(|| format!("foreign memory was read {ours} times instead of {theirs}"))
    }
}
