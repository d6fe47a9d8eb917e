//! Memory in which every byte belongs to a region, and every access to a region is checked.

use std::collections::BTreeMap;

/// What a program may do with a data region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Frozen, as `.rodata` is after loading.
    Read,
    /// Both.
    ReadWrite,
}

/// What a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A stack frame: reading what was not written is an error.
    Stack,
    /// The program's context: read-only, in aligned words.
    Context,
    /// A map's value, a data section, room in a ring buffer.
    Data(Access),
    /// The kernel's own: only helpers that read kernel memory get there.
    Kernel,
    /// The process's: only helpers that read user memory get there.
    User,
}

#[derive(Clone, Debug)]
struct Region {
    kind: Kind,
    bytes: Vec<u8>,
    /// Which bytes were written; of stack frames only.
    written: Vec<bool>,
    /// Offset and length of what can be read, if not everything can.
    members: Option<Vec<(usize, usize)>>,
}

/// All regions by address.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    regions: BTreeMap<u64, Region>,
    next: u64,
    next_user: u64,
}

/// Regions lie so far apart that no wrong offset leads from one into another.
const APART: u64 = 1 << 33;
const FIRST_KERNEL: u64 = 0xffff_8880_0000_0000;
const FIRST_USER: u64 = 0x0000_5555_0000_0000;

impl Memory {
    pub(crate) fn new() -> Self {
        Self { regions: BTreeMap::new(), next: FIRST_KERNEL, next_user: FIRST_USER }
    }

    /// Makes a region and returns its address.
    pub(crate) fn add(&mut self, kind: Kind, bytes: Vec<u8>) -> u64 {
        let next = if kind == Kind::User { &mut self.next_user } else { &mut self.next };
        let base = *next;
        *next += APART;
        let written = if kind == Kind::Stack { vec![false; bytes.len()] } else { Vec::new() };
        self.regions.insert(base, Region { kind, bytes, written, members: None });
        base
    }

    /// Removes a region: from now on every access to it is an error.
    pub(crate) fn remove(&mut self, base: u64) -> Option<Vec<u8>> {
        self.regions.remove(&base).map(|region| region.bytes)
    }

    /// An address that is never mapped, for whatever needs a number and no memory.
    pub(crate) fn handle(&mut self) -> u64 {
        let base = self.next;
        self.next += APART;
        base
    }

    /// A region's bytes, whatever it is.
    pub(crate) fn bytes(&self, base: u64) -> Option<&[u8]> {
        self.regions.get(&base).map(|region| region.bytes.as_slice())
    }

    /// A region's bytes, to be changed from outside.
    pub(crate) fn bytes_mut(&mut self, base: u64) -> Option<&mut Vec<u8>> {
        self.regions.get_mut(&base).map(|region| &mut region.bytes)
    }

    fn locate(&self, address: u64, len: usize) -> Option<(u64, usize)> {
        let (&base, region) = self.regions.range(..=address).next_back()?;
        let start = usize::try_from(address - base).ok()?;
        let end = start.checked_add(len)?;
        (end <= region.bytes.len()).then_some((base, start))
    }

    fn located(&self, address: u64, len: usize) -> Result<(&Region, usize), String> {
        let (base, start) = self
            .locate(address, len)
            .ok_or_else(|| format!("{len} bytes at {address:#x} belong to nothing"))?;
        Ok((&self.regions[&base], start))
    }

    /// What a program reads directly.
    pub(crate) fn read(&self, address: u64, len: usize) -> Result<&[u8], String> {
        let (region, start) = self.located(address, len)?;
        match region.kind {
            Kind::Kernel | Kind::User => {
                return Err("a direct read of memory that is not the program's".into());
            }
            Kind::Stack if !region.written[start..start + len].iter().all(|&written| written) => {
                return Err("a read of stack that was never written".into());
            }
            Kind::Context if !start.is_multiple_of(len) => {
                return Err("an unaligned read of the context".into());
            }
            _ => {}
        }
        Ok(&region.bytes[start..start + len])
    }

    /// What a program writes directly, or lets a helper write.
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), String> {
        let len = bytes.len();
        let (base, start) = self
            .locate(address, len)
            .ok_or_else(|| format!("{len} bytes at {address:#x} belong to nothing"))?;
        let region = self.regions.get_mut(&base).ok_or("no such region")?;
        if ![Kind::Stack, Kind::Data(Access::ReadWrite)].contains(&region.kind) {
            return Err("a write to memory that is read-only or not the program's".into());
        }
        region.bytes[start..start + len].copy_from_slice(bytes);
        if let Some(written) = region.written.get_mut(start..start + len) {
            written.fill(true);
        }
        Ok(())
    }

    /// Whether a helper may write so much.
    pub(crate) fn check_writable(&self, address: u64, len: usize) -> Result<(), String> {
        match self.located(address, len)?.0.kind {
            Kind::Stack | Kind::Data(Access::ReadWrite) => Ok(()),
            _ => Err("a write to memory that is read-only or not the program's".into()),
        }
    }

    /// Loads and stores of the stack are aligned, or the verifier refuses them on every architecture.
    pub(crate) fn check_alignment(&self, address: u64, len: usize) -> Result<(), String> {
        let (region, start) = self.located(address, len)?;
        if region.kind == Kind::Stack && !start.is_multiple_of(len) {
            return Err("an unaligned access to the stack".into());
        }
        Ok(())
    }

    /// Says which members a structure has: from now on nothing else can be read of it.
    pub(crate) fn set_members(&mut self, base: u64, members: Vec<(usize, usize)>) {
        if let Some(region) = self.regions.get_mut(&base) {
            region.members = Some(members);
        }
    }

    /// A string in the kernel, with its zero; cut to `size`, the zero included. `None` when it has no end.
    pub(crate) fn probe_string(&self, address: u64, size: usize) -> Option<Vec<u8>> {
        let (base, start) = self.locate(address, 1)?;
        let region = self.regions.get(&base).filter(|region| region.kind == Kind::Kernel)?;
        let rest = &region.bytes[start..];
        let len = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
        if len == rest.len() && len < size {
            return None;
        }
        let mut string = rest[..len.min(size.checked_sub(1)?)].to_vec();
        string.push(0);
        Some(string)
    }

    /// What a helper that may fail reads: anything in the kernel, or anything in the process. Of a structure
    /// whose members are known, exactly one of them.
    pub(crate) fn probe(&self, address: u64, len: usize, user: bool) -> Result<Option<&[u8]>, String> {
        let Some((base, start)) = self.locate(address, len) else { return Ok(None) };
        let region = &self.regions[&base];
        if region.members.as_ref().is_some_and(|members| !members.contains(&(start, len))) {
            return Err(format!("{len} bytes at {start} of a structure are none of its members"));
        }
        Ok(((region.kind == Kind::User) == user).then(|| &region.bytes[start..start + len]))
    }
}
