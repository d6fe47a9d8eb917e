//! What has to be known of an ELF file that a stranger may have made, before its debug information is read.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
};

use nix::sys::memfd::{MFdFlags, memfd_create};

/// Debug information of one file, unpacked. More is not read.
const MAX_UNPACKED: u64 = 1 << 30;
/// The format's limit for a plain section count.
const MAX_SECTIONS: u64 = 0xff00;

const HEADER_LEN: usize = 64;
const SECTION_LEN: usize = 64;
const SHF_COMPRESSED: u64 = 0x800;
const SHT_NOBITS: u32 = 8;
/// Sections that name further files to read.
const LINKS: [&[u8]; 3] = [b".gnu_debuglink", b".gnu_debugaltlink", b".debug_sup"];

/// A copy in memory, which nobody else can change.
pub(super) fn copy(file: File, size: u64) -> io::Result<File> {
    let mut copy = File::from(memfd_create("symbols", MFdFlags::MFD_CLOEXEC)?);
    io::copy(&mut file.take(size), &mut copy)?;
    Ok(copy)
}

/// True when the file's debug information can be read without following its word to other files, or
/// unpacking more than is sensible. Only 64-bit little-endian files are looked into.
pub(super) fn has_plain_debug_info(file: &File) -> bool {
    examine(file).unwrap_or(false)
}

fn examine(file: &File) -> io::Result<bool> {
    let Some(table) = SectionTable::of(file)? else { return Ok(false) };
    let mut unpacked = 0_u64;
    for index in 0..table.count {
        let section = table.section(file, index)?;
        let mut name = [0; 20];
        let read = file.read_at(&mut name, table.names.saturating_add(section.name.into()))?;
        let name = name[..read].split(|&byte| byte == 0).next().unwrap_or_default();
        if LINKS.contains(&name) {
            return Ok(false);
        }
        if section.flags & SHF_COMPRESSED != 0 && section.kind != SHT_NOBITS {
            let mut header = [0; 16];
            file.read_exact_at(&mut header, section.offset)?;
            unpacked = unpacked.saturating_add(u64_at(&header, 8));
        }
    }
    Ok(unpacked <= MAX_UNPACKED)
}

struct SectionTable {
    offset: u64,
    count: u64,
    /// Where the sections' names begin in the file.
    names: u64,
}

struct Section {
    name: u32,
    kind: u32,
    flags: u64,
    offset: u64,
}

impl SectionTable {
    fn of(file: &File) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER_LEN];
        file.read_exact_at(&mut header, 0)?;
        let section_len = usize::from(u16_at(&header, 58));
        if !header.starts_with(b"\x7fELF\x02\x01") || section_len != SECTION_LEN {
            return Ok(None);
        }
        let table = Self { offset: u64_at(&header, 40), count: u16_at(&header, 60).into(), names: 0 };
        if table.count >= MAX_SECTIONS {
            return Ok(None);
        }
        let names = table.section(file, u16_at(&header, 62).into())?;
        Ok(Some(Self { names: names.offset, ..table }))
    }

    fn section(&self, file: &File, index: u64) -> io::Result<Section> {
        let mut section = [0; SECTION_LEN];
        file.read_exact_at(&mut section, self.offset.saturating_add(index * SECTION_LEN as u64))?;
        Ok(Section {
            name: u32_at(&section, 0),
            kind: u32_at(&section, 4),
            flags: u64_at(&section, 8),
            offset: u64_at(&section, 24),
        })
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
