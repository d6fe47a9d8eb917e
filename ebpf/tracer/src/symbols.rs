//! Addresses to functions and source lines, by blazesym.
//!
//! A user address is first turned into a file and an offset in it, by the process's mappings, which
//! [`crate::process`] remembers: so it can be done after the process has ended. The file is then found through
//! the process's root directory, or that of an ancestor which shares it.

mod elf;
mod file;
mod kernel;
mod module;

use std::path::PathBuf;

use crate::{
    process::{Mapping, Process},
    recent::Recent,
    symbols::{
        kernel::KernelSymbols,
        module::{FileId, Modules},
    },
};

/// One frame of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The return address.
    pub address: u64,
    /// Function, when it is known.
    pub function: Option<String>,
    /// Bytes from the start of the function. Not for what was inlined.
    pub offset: Option<u64>,
    /// File that the code was mapped from, as the kernel names it: with ` (deleted)` behind it when that file is
    /// no more, `[vdso]` for the kernel's own code, `[anonymous]` for code that was made at run time.
    pub module: Option<String>,
    /// Where the return address lies in the module's file, in bytes.
    pub module_offset: Option<u64>,
    /// Source file, where there is debug information.
    pub file: Option<PathBuf>,
    /// Line in the source file.
    pub line: Option<u32>,
    /// The compiler put this function into the one of the next frame, at the same address.
    pub inlined: bool,
}

impl Frame {
    fn bare(address: u64) -> Self {
        Self { address, ..Self::default() }
    }
}

/// Mappings of which it is remembered what file they are of.
const MAX_MAPPINGS: usize = 16_384;

/// Code that the kernel maps into every process.
const VDSO: &str = "[vdso]";
/// Code that a process made by itself, as just-in-time compilers do.
const ANONYMOUS: &str = "[anonymous]";

/// Turns stacks into frames. Reads files and /proc, so it belongs on a thread that may block.
#[derive(Debug)]
pub struct Symbols {
    kernel: KernelSymbols,
    modules: Modules,
    /// The files of mappings; `None` for those that were not to be found.
    files: Recent<MappingId, Option<FileId>>,
}

/// A mapping of a process, at all times.
type MappingId = (crate::process::Identity, u64, u64);

impl Default for Symbols {
    fn default() -> Self {
        Self::new()
    }
}

impl Symbols {
    /// Nothing is read yet.
    pub fn new() -> Self {
        Self { kernel: KernelSymbols::new(), modules: Modules::default(), files: Recent::new(MAX_MAPPINGS) }
    }

    /// Frames of a kernel stack, from /proc/kallsyms, without those of the tracer's own programs.
    pub fn kernel(&mut self, addresses: &[u64]) -> Vec<Frame> {
        self.kernel.frames(addresses)
    }

    /// Frames of a user stack, innermost first. Without the process there are only addresses.
    pub fn user(&mut self, process: Option<&Process>, addresses: &[u64]) -> Vec<Frame> {
        let Some(process) = process else { return addresses.iter().copied().map(Frame::bare).collect() };
        let calls: Vec<u64> = addresses.iter().copied().map(call_before).collect();
        let maps = process.maps(&calls);
        let frames = addresses.iter().zip(&calls).flat_map(|(&address, &call)| match maps.find(call) {
            Some(mapping) => self.in_mapping(process, mapping, address),
            None => vec![Frame::bare(address)],
        });
        frames.collect()
    }

    fn in_mapping(&mut self, process: &Process, mapping: &Mapping, address: u64) -> Vec<Frame> {
        let name = mapping.name.to_string_lossy();
        let has_offset = mapping.is_file() || name == VDSO;
        let known = Frame {
            module: Some(if name.is_empty() { ANONYMOUS.into() } else { name.into_owned() }),
            module_offset: has_offset.then(|| mapping.file_offset(address)),
            ..Frame::bare(address)
        };
        if !mapping.is_file() {
            return vec![known];
        }
        self.in_file(process, mapping, &known)
    }

    fn in_file(&mut self, process: &Process, mapping: &Mapping, known: &Frame) -> Vec<Frame> {
        let id = (process.identity(), mapping.start, mapping.inode);
        let offset = call_before(known.module_offset.unwrap_or_default());
        let found = match self.files.get(&id) {
            Some(None) => return vec![known.clone()],
            Some(Some(file)) => self.modules.get(*file).map(|module| module.frames(offset)),
            None => None,
        };
        let found = found.unwrap_or_else(|| {
            let file = file::find(process, mapping);
            self.files.insert(id, file.as_ref().map(|file| file.id));
            file.map(|file| self.modules.insert(file).frames(offset)).unwrap_or_default()
        });
        if found.is_empty() {
            return vec![known.clone()];
        }
        let complete = |frame: Frame| Frame {
            address: known.address,
            module: known.module.clone(),
            module_offset: known.module_offset,
            ..frame
        };
        found.into_iter().map(complete).collect()
    }
}

/// A return address points behind the call; the byte before it is still inside.
fn call_before(address: u64) -> u64 {
    address.saturating_sub(1)
}

#[cfg(test)]
mod tests;
