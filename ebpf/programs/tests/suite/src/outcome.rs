//! What came of a case, in a form that both executions and the reference can be compared in.

use std::collections::{BTreeMap, BTreeSet};

use synscope_ebpf::record::{Attempt, Code, Counters, PATH_ROOM, Place, Record, RecordWithStacks, Stack};
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

/// A process's code as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentCode {
    /// Records that were sent before it.
    pub before: usize,
    /// Memory descriptor, process.
    pub program: (u64, u32),
    /// Where the executable is mapped.
    pub code: (u64, u64),
    /// Its inode number.
    pub inode: u64,
    /// Its device.
    pub device: u32,
    /// Bytes that its path would take.
    pub path_len: usize,
    /// The path, where there is room for it.
    pub path: Vec<u8>,
    /// Whether it goes up to the root.
    pub path_is_whole: bool,
    /// The user stack.
    pub addresses: Walk,
    /// Status, build id, offset of each frame; or a negative errno.
    pub places: Result<Vec<(i32, [u8; 20], u64)>, i64>,
}

impl Default for SentCode {
    fn default() -> Self {
        Self {
            before: 0,
            program: (0, 0),
            code: (0, 0),
            inode: 0,
            device: 0,
            path_len: 0,
            path: Vec::new(),
            path_is_whole: false,
            addresses: Walk::default(),
            places: Ok(Vec::new()),
        }
    }
}

impl SentCode {
    /// Reads what lay in the ring buffer behind so many records. `None` when it is something else.
    pub fn read(bytes: &[u8], before: usize) -> Option<Self> {
        let code = Code::read_from_bytes(bytes).ok()?;
        let path_len = code.path_len as usize;
        let places = match usize::try_from(code.places_len) {
            Ok(len) => {
                let places = code.places.iter().take(len / size_of::<Place>());
                Ok(places.map(|place| (place.status, place.build_id, place.offset)).collect())
            }
            Err(_) => Err(code.places_len),
        };
        Some(Self {
            before,
            program: (code.program.mm, code.program.tgid),
            code: (code.start_code, code.end_code),
            inode: code.inode,
            device: code.device,
            path_len,
            path: if path_len > PATH_ROOM { Vec::new() } else { code.path[..path_len].to_vec() },
            path_is_whole: code.path_is_whole == 1,
            addresses: (&code.addresses).into(),
            places,
        })
    }
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// All records, in order.
    pub sent: Vec<Sent>,
    /// Code of processes, likewise.
    pub codes: Vec<SentCode>,
    /// Over all processors.
    pub counters: Counters,
    /// Attempts under way at the end, by socket.
    pub pending: BTreeMap<Index, Attempt>,
    /// Sockets of which a user stack is kept at the end.
    pub stacks_kept: BTreeSet<Index>,
    /// Programs of which the code is kept at the end, and whether it was sent.
    pub codes_kept: BTreeMap<(u64, u32), bool>,
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
        if self.codes != expected.codes {
            return Some(format!(
                "code is told as\n  {:?}\nand should be\n  {:?}",
                self.codes, expected.codes
            ));
        }
        if self.codes_kept != expected.codes_kept {
            let (ours, theirs) = (&self.codes_kept, &expected.codes_kept);
            return Some(format!("code is kept of {ours:?} instead of {theirs:?}"));
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
