//! `/proc/PID/maps`: which files a process's code comes from.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, BufReader, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::Arc,
};

/// Executable mappings kept of one process. Beyond, code is shown by address only.
const MAX_MAPPINGS: usize = 1024;
/// Text read of one process's maps: above what 65,530 mappings, the kernel's own limit, commonly take.
const MAX_BYTES: u64 = 8 << 20;

/// The executable mappings of a process at one moment, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maps {
    mappings: Vec<Mapping>,
}

/// One executable mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
    /// Where in the file it begins.
    pub offset: u64,
    /// Device that the file is on, as (major, minor).
    pub device: (u32, u32),
    /// Inode number of the file; 0 when there is no file.
    pub inode: u64,
    /// What the kernel shows for a name: a path, perhaps with ` (deleted)` behind it; `[vdso]` and the like;
    /// nothing for anonymous memory.
    pub name: Arc<Path>,
}

impl Mapping {
    /// True when there is a file behind it.
    pub fn is_file(&self) -> bool {
        self.inode != 0
    }

    /// Where an address lies in the file.
    pub fn file_offset(&self, address: u64) -> u64 {
        address.wrapping_sub(self.start).wrapping_add(self.offset)
    }
}

impl Maps {
    pub(crate) fn read(pid: u32) -> io::Result<Self> {
        let file = File::open(format!("/proc/{pid}/maps"))?;
        Self::parse(BufReader::new(file.take(MAX_BYTES)))
    }

    /// Lines that are not understood are passed over.
    fn parse(mut text: impl io::BufRead) -> io::Result<Self> {
        let mut mappings: Vec<Mapping> = Vec::new();
        let mut line = Vec::with_capacity(256);
        while mappings.len() < MAX_MAPPINGS {
            line.clear();
            if text.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            mappings.extend(parse_line(line.strip_suffix(b"\n").unwrap_or(&line)));
        }
        mappings.sort_unstable_by_key(|mapping| mapping.start);
        Ok(Self { mappings })
    }

    /// The mapping that an address lies in.
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        let behind = self.mappings.partition_point(|mapping| mapping.start <= address);
        self.mappings.get(behind.checked_sub(1)?).filter(|mapping| address < mapping.end)
    }

    /// All of them, by address.
    pub fn iter(&self) -> std::slice::Iter<'_, Mapping> {
        self.mappings.iter()
    }

    /// True when there is none: so it looks when a process has ended.
    pub fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }
}

impl<'a> IntoIterator for &'a Maps {
    type Item = &'a Mapping;
    type IntoIter = std::slice::Iter<'a, Mapping>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Reads `START-END PERMISSIONS OFFSET MAJOR:MINOR INODE   NAME`, when it is executable.
fn parse_line(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || -> Option<&str> {
        let len = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
        let (field, tail) = rest.split_at(len);
        rest = tail.strip_prefix(b" ").unwrap_or(tail);
        std::str::from_utf8(field).ok()
    };
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = field()?.split_once('-')?;
    if field()?.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let (offset, device, inode) = (field()?, field()?, field()?);
    let (major, minor) = device.split_once(':')?;
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        offset: hex(offset)?,
        device: (number(major)?, number(minor)?),
        inode: inode.parse().ok()?,
        name: Path::new(OsStr::from_bytes(&unescape(rest.trim_ascii_start()))).into(),
    })
}

/// A newline in a path is shown as `\012`; nothing else is escaped, not even the backslash.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(br"\012") {
            plain.push(b'\n');
            rest = behind;
        } else {
            plain.push(first);
            rest = tail;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"\
00400000-00401000 r-xp 00002000 fd:1a 131 /usr/bin/sh\n\
00600000-00601000 rw-p 00003000 fd:1a 131 /usr/bin/sh\n\
7f0000001000-7f0000003000 r-xp 00001000 00:2f 4294967297                 /srv/with space\\012line (deleted)\n\
7f0000004000-7f0000005000 rwxp 00000000 00:00 0 \n\
7f0000005000-7f0000006000 --xs 00000000 00:00 0\n\
7f0000007000-7f0000008000 r-xp 00000000 00:01 7 /memfd:\xff\xfe (deleted)\n\
7ffd0000a000-7ffd0000b000 r-xp 00000000 00:00 0                          [vdso]\n";

    fn parse(text: &[u8]) -> Maps {
        Maps::parse(text).unwrap()
    }

    #[test]
    fn executable_mappings_are_read() {
        let maps = parse(SAMPLE);
        let starts: Vec<u64> = maps.iter().map(|mapping| mapping.start & 0xffff_ffff).collect();
        assert_eq!(starts, [0x40_0000, 0x1000, 0x4000, 0x5000, 0x7000, 0xa000]);
        let names: Vec<&[u8]> = maps.iter().map(|mapping| mapping.name.as_os_str().as_bytes()).collect();
        let expected: [&[u8]; 6] = [
            b"/usr/bin/sh",
            b"/srv/with space\nline (deleted)",
            b"",
            b"",
            b"/memfd:\xff\xfe (deleted)",
            b"[vdso]",
        ];
        assert_eq!(names, expected);
        let shell = maps.find(0x40_0010).unwrap();
        assert_eq!((shell.offset, shell.device, shell.inode), (0x2000, (0xfd, 0x1a), 131));
        assert_eq!(shell.file_offset(0x40_0010), 0x2010);
        assert!(shell.is_file() && !maps.find(0x7f00_0000_4000).unwrap().is_file());
    }

    #[test]
    fn an_address_is_found_up_to_the_end_of_its_mapping() {
        let maps = parse(SAMPLE);
        for (address, found) in [
            (0, false),
            (0x3f_ffff, false),
            (0x40_0000, true),
            (0x40_0fff, true),
            (0x40_1000, false),
            (0x7ffd_0000_afff, true),
            (0x7ffd_0000_b000, false),
            (u64::MAX, false),
        ] {
            assert_eq!(maps.find(address).is_some(), found, "{address:#x}");
        }
    }

    #[test]
    fn lines_that_are_not_understood_are_passed_over() {
        for len in 0..SAMPLE.len() {
            parse(&SAMPLE[..len]);
        }
        for line in
            ["", "-", "0-1", "0-1 r-xp", "0-1 r-xp 0 0:0", "g-1 r-xp 0 0:0 0", "0-1 r-xp 0 00 0", "\u{fffd}"]
        {
            assert!(parse(line.as_bytes()).is_empty(), "{line}");
        }
        // An end before its start must not be found, nor break the arithmetic.
        let backwards = parse(b"2000-1000 r-xp ffffffffffffffff 0:0 5 /x\n");
        assert_eq!(backwards.find(0x2000), None);
        assert_eq!(backwards.iter().next().unwrap().file_offset(0), u64::MAX - 0x2000);
    }

    #[test]
    fn only_so_many_are_kept() {
        let lines: Vec<String> = (0..5000).map(|i| format!("{i:x}000-{i:x}800 r-xp 0 0:0 0")).collect();
        let text = lines.join("\n");
        assert_eq!(parse(text.as_bytes()).iter().count(), MAX_MAPPINGS);
    }

    #[test]
    fn this_process_maps_the_code_that_runs() {
        let maps = Maps::read(std::process::id()).unwrap();
        let own = maps.find(this_process_maps_the_code_that_runs as fn() as usize as u64).unwrap();
        assert_eq!(&*own.name, std::env::current_exe().unwrap());
    }
}
