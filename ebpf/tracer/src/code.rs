//! What the kernel kept of a process's code, for when the process is gone before anybody looks at it.

use std::{
    ffi::OsStr,
    fmt,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use synscope_ebpf::record::{self, Attempt, PATH_ROOM, Program};
use zerocopy::FromBytes;

use crate::{clock::Clock, recent::Recent};

/// Processes of which the code is remembered: twice as many as the programs remember, so that what they sent once is
/// there as long as they do not send it again.
const MAX_CODES: usize = 2048;

/// GNU build id of a file, shorter ones with zeros behind, as the kernel gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BuildId(pub [u8; 20]);

impl fmt::Display for BuildId {
    /// In hexadecimal, as debuginfod and file(1) write it. Linkers make ids of 20, 16 or 8 bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_only_zeros_from = |&len: &usize| self.0[len..].iter().all(|&byte| byte == 0);
        let len = [8, 16].into_iter().find(has_only_zeros_from).unwrap_or(self.0.len());
        self.0[..len].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A return address and the place in a file that it was mapped from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    address: u64,
    place: Place,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which file.
    pub(crate) build_id: BuildId,
    /// Where in it, in bytes.
    pub(crate) offset: u64,
}

/// The code of one process, as the kernel showed it at the first attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The executable's path in the process's own mount namespace, from its root; `None` when it was too long, or
    /// there is none, as with memory files.
    pub executable: Option<PathBuf>,
    /// Device and inode of the executable, the device as the kernel keeps it for the file system.
    pub(crate) file: ((u32, u32), u64),
    start: u64,
    pub(crate) end: u64,
    /// When it was read from the ring buffer, by the boot-time clock: a little after its process connected.
    pub(crate) learnt_ns: u64,
    /// By address.
    known: Vec<Known>,
}

impl Code {
    fn of(record: &record::Code) -> Self {
        let filled = |len: i64, each: usize| usize::try_from(len).unwrap_or(0) / each;
        let frames = filled(record.addresses.length, size_of::<u64>());
        let places = filled(record.places_len, size_of::<record::Place>());
        let both = record.addresses.frames.iter().zip(&record.places).take(frames.min(places));
        let mut known: Vec<Known> = both
            .filter(|(_, place)| place.status == record::Place::KNOWN)
            .map(|(&address, place)| Known {
                address,
                place: Place { build_id: BuildId(place.build_id), offset: place.offset },
            })
            .collect();
        known.sort_unstable_by_key(|known| known.address);
        Self {
            executable: path(record),
            file: ((record.device >> 20, record.device & 0xf_ffff), record.inode),
            start: record.start_code,
            end: record.end_code,
            learnt_ns: Clock::boot_ns(),
            known,
        }
    }

    #[cfg(test)]
    pub(crate) fn new(
        executable: &Path,
        file: ((u32, u32), u64),
        (start, end): (u64, u64),
        known: &[(u64, BuildId, u64)],
    ) -> Self {
        let known = known
            .iter()
            .map(|&(address, build_id, offset)| Known { address, place: Place { build_id, offset } });
        let learnt_ns = Clock::boot_ns();
        Self { executable: Some(executable.into()), file, start, end, learnt_ns, known: known.collect() }
    }

    /// Whether a process with its executable at these addresses, as /proc shows them, ran this code: each exec() maps it
    /// elsewhere. True where the kernel does not tell.
    pub(crate) fn may_be_at(&self, (start, end): (u64, u64)) -> bool {
        end <= 1 || self.end == 0 || (start, end) == (self.start, self.end)
    }

    /// True when the executable itself is mapped at the address.
    pub(crate) fn is_of_executable(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// The place of an address: one that was on the stack, or that lies between two of the same mapping.
    pub(crate) fn place(&self, address: u64) -> Option<Place> {
        let at = self.known.partition_point(|known| known.address < address);
        let (before, above) = self.known.split_at(at);
        let next = above.first()?;
        if next.address == address {
            return Some(next.place);
        }
        let before = before.last()?;
        let base = |known: &Known| known.address.wrapping_sub(known.place.offset);
        let is_same = before.place.build_id == next.place.build_id && base(before) == base(next);
        is_same.then(|| Place { offset: address.wrapping_sub(base(next)), ..next.place })
    }

    /// The build id of the executable, if any of its code was on the stack.
    pub(crate) fn build_id(&self) -> Option<BuildId> {
        let known = self.known.iter().find(|known| self.is_of_executable(known.address))?;
        Some(known.place.build_id)
    }
}

/// The names of the record, the other way round.
fn path(record: &record::Code) -> Option<PathBuf> {
    let len = usize::try_from(record.path_len).ok().filter(|&len| len <= PATH_ROOM)?;
    let names = record.path[..len].strip_suffix(b"\0").filter(|_| record.path_is_whole == 1)?;
    let mut path = PathBuf::from("/");
    path.extend(names.split(|&byte| byte == 0).rev().map(|name| Path::new(OsStr::from_bytes(name))));
    Some(path)
}

/// The code of processes that failed lately.
#[derive(Debug)]
pub(crate) struct Codes(Recent<Program, Arc<Code>>);

impl Codes {
    pub(crate) fn new() -> Self {
        Self(Recent::new(MAX_CODES))
    }

    /// Takes what the programs sent. False when it is something else.
    pub(crate) fn learn(&mut self, bytes: &[u8]) -> bool {
        let Ok(record) = record::Code::ref_from_bytes(bytes) else { return false };
        self.0.insert(record.program, Arc::new(Code::of(record)));
        true
    }

    /// The code of the process that made an attempt.
    pub(crate) fn of(&mut self, attempt: &Attempt) -> Option<Arc<Code>> {
        let program = Program { mm: attempt.mm, tgid: attempt.tgid, padding: 0 };
        self.0.get(&program).map(|code| Arc::clone(code))
    }
}

#[cfg(test)]
mod tests {
    use synscope_ebpf::record::{NAME_ROOM, Stack, USER_FRAMES};

    use super::*;

    const ID: [u8; 20] = [0xab; 20];
    const OTHER: [u8; 20] = [0xcd; 20];

    /// A program at 0x1000 to 0x3000 and a library at 0x9000, and something without a file.
    fn record() -> record::Code {
        let mut record = record::Code {
            program: Program { mm: 0xffff, tgid: 7, padding: 0 },
            start_code: 0x1000,
            end_code: 0x3000,
            inode: 42,
            device: 8 << 20 | 1,
            is_sent: 0,
            path_len: 0,
            path_is_whole: 1,
            addresses: Stack { length: 32, frames: [0; USER_FRAMES] },
            places_len: 4 * 32,
            places: [record::Place { status: 2, build_id: [0; 20], offset: 0 }; USER_FRAMES],
            path: [0xee; PATH_ROOM + NAME_ROOM],
        };
        let frames = [
            (0x9100, 1, OTHER, 0x5100),
            (0x7777, 2, ID, 0x7777),
            (0x2800, 1, ID, 0x1800),
            (0x1200, 1, ID, 0x200),
        ];
        for (at, (address, status, build_id, offset)) in frames.into_iter().enumerate() {
            record.addresses.frames[at] = address;
            record.places[at] = record::Place { status, build_id, offset };
        }
        set_path(&mut record, b"quick\0bin\0usr\0");
        record
    }

    fn set_path(record: &mut record::Code, names: &[u8]) {
        record.path[..names.len()].copy_from_slice(names);
        record.path_len = u32::try_from(names.len()).unwrap();
    }

    #[test]
    fn what_was_on_the_stack_is_known_and_what_lies_between() {
        let code = Code::of(&record());
        let at = |address| code.place(address).map(|place| (place.build_id.0, place.offset));
        assert_eq!(at(0x9100), Some((OTHER, 0x5100)));
        assert_eq!(at(0x1200), Some((ID, 0x200)));
        assert_eq!(at(0x2000), Some((ID, 0x1000)), "between two places of one mapping");
        for unknown in [0, 0x11ff, 0x2801, 0x7777, 0x90ff, 0x9101, u64::MAX] {
            assert_eq!(at(unknown), None, "{unknown:#x}");
        }
        assert!(code.is_of_executable(0x1000) && !code.is_of_executable(0x3000));
        assert_eq!(code.build_id(), Some(BuildId(ID)));
        assert_eq!(code.file, ((8, 1), 42));
    }

    #[test]
    fn code_that_is_not_told_may_be_any() {
        let code = Code::of(&record());
        for (shown, may_be) in [
            ((0x1000, 0x3000), true),
            ((0, 0), true),
            ((1, 1), true),
            ((0x1000, 0x3001), false),
            ((0x2000, 0x3000), false),
        ] {
            assert_eq!(code.may_be_at(shown), may_be, "{shown:x?}");
        }
        let unknown = Code::of(&record::Code { start_code: 0, end_code: 0, ..record() });
        assert!(unknown.may_be_at((0x1000, 0x3000)));
    }

    #[test]
    fn a_mapping_in_between_hides_nothing_of_another_file() {
        let mut record = record();
        // The same file again, at another base: between the two anything may be mapped.
        record.places[2].offset = 0x1900;
        assert_eq!(Code::of(&record).place(0x2000), None);
    }

    #[test]
    fn a_path_is_whole_or_not_told() {
        assert_eq!(Code::of(&record()).executable.as_deref(), Some(Path::new("/usr/bin/quick")));
        let mut cut = record();
        cut.path_is_whole = 0;
        assert_eq!(Code::of(&cut).executable, None);
        for len in [0, u32::try_from(PATH_ROOM).unwrap() + 1, u32::MAX] {
            let code = Code::of(&record::Code { path_len: len, ..record() });
            assert_eq!(code.executable, None, "{len}");
        }
        let mut strange = record();
        set_path(&mut strange, b"\xff\xfe \n\0");
        assert_eq!(Code::of(&strange).executable.unwrap().as_os_str().as_bytes(), b"/\xff\xfe \n");
    }

    #[test]
    fn stacks_that_could_not_be_walked_leave_nothing() {
        for (frames, places) in [(-14, 128), (32, -22), (i64::MIN, i64::MAX), (0, 0)] {
            let mut record = record();
            (record.addresses.length, record.places_len) = (frames, places);
            assert_eq!(Code::of(&record).known, [], "{frames} {places}");
        }
        let mut full = record();
        (full.addresses.length, full.places_len) = (i64::MAX, i64::MAX);
        assert_eq!(Code::of(&full).known.len(), 3);
    }

    #[test]
    fn build_ids_are_as_long_as_the_linker_made_them() {
        let mut id = [0; 20];
        for (filled, digits) in [(20, 40), (16, 32), (8, 16)] {
            id = [0; 20];
            id[..filled].fill(0x5a);
            assert_eq!(BuildId(id).to_string(), "5a".repeat(digits / 2));
        }
        id[9] = 1;
        assert_eq!(BuildId(id).to_string().len(), 32);
    }
}
