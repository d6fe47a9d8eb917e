//! What an ELF file says of itself in its program headers: which build it is, and where its code lies. Only 64-bit
//! little-endian files are looked into.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use super::elf::{u16_at, u32_at, u64_at};
use crate::code::BuildId;

const HEADER_LEN: usize = 64;
const SEGMENT_LEN: usize = 56;
/// Files have about a dozen.
const MAX_SEGMENTS: u64 = 128;
/// Notes of one segment that are looked at.
const MAX_NOTES: u64 = 4096;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
const NT_GNU_BUILD_ID: u32 = 3;

/// What the program headers tell.
#[derive(Debug, Default)]
pub(super) struct Headers {
    pub(super) build_id: Option<BuildId>,
    code: Vec<Segment>,
}

/// Code as it is to be mapped.
#[derive(Debug)]
struct Segment {
    address: u64,
    offset: u64,
    len: u64,
}

impl Headers {
    /// Nothing, when it is no such file.
    pub(super) fn read(file: &File) -> Self {
        Self::try_read(file).unwrap_or_default()
    }

    fn try_read(file: &File) -> io::Result<Self> {
        let mut header = [0; HEADER_LEN];
        file.read_exact_at(&mut header, 0)?;
        let mut headers = Self::default();
        if !header.starts_with(b"\x7fELF\x02\x01") || usize::from(u16_at(&header, 54)) != SEGMENT_LEN {
            return Ok(headers);
        }
        let (table, count) = (u64_at(&header, 32), u64::from(u16_at(&header, 56)).min(MAX_SEGMENTS));
        for index in 0..count {
            let mut segment = [0; SEGMENT_LEN];
            file.read_exact_at(&mut segment, table.saturating_add(index * SEGMENT_LEN as u64))?;
            let (kind, flags) = (u32_at(&segment, 0), u32_at(&segment, 4));
            let [offset, address, len] = [8, 16, 32].map(|at| u64_at(&segment, at));
            if kind == PT_NOTE && headers.build_id.is_none() {
                headers.build_id = build_id(file, offset, len)?;
            } else if kind == PT_LOAD && flags & PF_X != 0 {
                headers.code.push(Segment { address, offset, len });
            }
        }
        Ok(headers)
    }

    /// Where an address lies in the file, in a process in which the file's code ends at `end`, as the kernel counts
    /// it (`mm_struct.end_code`, load_elf_binary in fs/binfmt_elf.c).
    pub(super) fn offset_at(&self, address: u64, end: u64) -> Option<u64> {
        let last = self.code.iter().map(|segment| segment.address.saturating_add(segment.len)).max()?;
        let address = address.checked_sub(end.checked_sub(last)?)?;
        self.code.iter().find_map(|segment| {
            let at = address.checked_sub(segment.address).filter(|&at| at < segment.len)?;
            at.checked_add(segment.offset)
        })
    }
}

/// Notes are a name and a description with their lengths and a type before them, each filled up to four bytes.
fn build_id(file: &File, offset: u64, len: u64) -> io::Result<Option<BuildId>> {
    let mut notes = vec![0; usize::try_from(len.min(MAX_NOTES)).unwrap_or(0)];
    let read = file.read_at(&mut notes, offset)?;
    let mut rest = &notes[..read];
    while let Some((header, behind)) = rest.split_first_chunk::<12>() {
        let padded = |at: usize| (u32_at(header, at) as usize).next_multiple_of(4);
        let (name, described) = (padded(0), u32_at(header, 4) as usize);
        let Some(description) = behind.get(name..).and_then(|rest| rest.get(..described)) else { break };
        if u32_at(header, 8) == NT_GNU_BUILD_ID
            && behind.starts_with(b"GNU\0")
            && (1..=20).contains(&described)
        {
            let mut id = [0; 20];
            id[..described].copy_from_slice(description);
            return Ok(Some(BuildId(id)));
        }
        rest = behind.get(name + padded(4)..).unwrap_or_default();
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const ID: [u8; 20] = [0x1d; 20];

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// An ELF header, three segments (code, note, more code), and two notes, of which the second is the build id.
    fn elf() -> Vec<u8> {
        let mut elf = vec![0; HEADER_LEN];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32..40].copy_from_slice(&64_u64.to_le_bytes());
        elf[54..56].copy_from_slice(&56_u16.to_le_bytes());
        elf[56..58].copy_from_slice(&3_u16.to_le_bytes());
        let notes_at = 64 + 3 * 56;
        for (kind, flags, offset, address, len) in [
            (PT_LOAD, 5, 0x1000, 0x401_000, 0x500),
            (PT_NOTE, 4, notes_at, 0x400_000, 60),
            (PT_LOAD, 5, 0x2000, 0x403_000, 0x800),
        ] {
            elf.extend([kind, flags].map(u32::to_le_bytes).concat());
            elf.extend([offset, address, 0, len, len, 0].map(u64::to_le_bytes).concat());
        }
        elf.extend([5, 3, 1].map(u32::to_le_bytes).concat());
        elf.extend(b"GNU1\0\0\0\0abc\0");
        elf.extend([4, 20, NT_GNU_BUILD_ID].map(u32::to_le_bytes).concat());
        elf.extend(b"GNU\0");
        elf.extend(ID);
        elf
    }

    #[test]
    fn the_build_id_and_the_place_of_code_are_read() {
        let headers = Headers::read(&file(&elf()));
        assert_eq!(headers.build_id, Some(BuildId(ID)));
        // The last code ends at 0x403800 in the file's own counting; this process has it 0x10000 further up.
        let at = |address| headers.offset_at(address, 0x413_800);
        assert_eq!(at(0x411_000), Some(0x1000));
        assert_eq!(at(0x411_4ff), Some(0x14ff));
        assert_eq!(at(0x413_7ff), Some(0x27ff));
        for outside in [0, 0x410_fff, 0x411_500, 0x412_fff, 0x413_800, u64::MAX] {
            assert_eq!(at(outside), None, "{outside:#x}");
        }
        assert_eq!(headers.offset_at(0x401_000, 0x403_7ff), None, "an end that no process can show");
    }

    #[test]
    fn wherever_a_file_ends_reading_it_ends_as_well() {
        let whole = elf();
        for len in 0..whole.len() {
            let headers = Headers::read(&file(&whole[..len]));
            assert_eq!(headers.build_id, None, "{len} bytes");
        }
        let mut hostile = whole.clone();
        let at = 64 + 3 * 56;
        hostile[at..at + 8].fill(0xff);
        assert_eq!(Headers::read(&file(&hostile)).build_id, None, "lengths beyond the file");
        hostile[64 + 56 + 8..64 + 56 + 16].fill(0xff);
        assert_eq!(Headers::read(&file(&hostile)).build_id, None, "notes beyond all files");
        assert!(Headers::read(&file(b"#!/bin/sh\n")).code.is_empty());
    }
}
