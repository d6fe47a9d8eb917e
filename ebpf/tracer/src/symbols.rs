//! Addresses to functions and source lines: the kernel's by its own table, those of processes by blazesym.
//!
//! A user address is first turned into a file and an offset in it, by the process's mappings, which
//! [`crate::process`] remembers: so it can be done after the process has ended. The file is then found through
//! the process's root directory, or that of an ancestor which shares it. Of a process that ended before its mappings
//! were read there is what the kernel kept, [`Code`]: `gone` makes the most of that.

mod elf;
mod file;
mod gone;
mod image;
mod kallsyms;
mod kernel;
mod module;

use std::path::PathBuf;

use crate::{
    code::Code,
    process::{Mapping, Process},
    recent::Recent,
    symbols::{
        gone::Builds,
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
    /// GNU build id of the module in hexadecimal, where the process was gone before its mappings were read and the
    /// kernel had kept it.
    pub build_id: Option<String>,
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
    builds: Builds,
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
        Self {
            kernel: KernelSymbols::new(),
            modules: Modules::default(),
            files: Recent::new(MAX_MAPPINGS),
            builds: Builds::new(),
        }
    }

    /// Frames of a kernel stack, from /proc/kallsyms, without those of the tracer's own programs.
    pub fn kernel(&mut self, addresses: &[u64]) -> Vec<Frame> {
        self.kernel.frames(addresses)
    }

    /// Frames of a user stack, innermost first: by the process's mappings where they were read, else by what the
    /// kernel kept of its code. Without either there are only addresses.
    pub fn user(&mut self, process: Option<&Process>, code: Option<&Code>, addresses: &[u64]) -> Vec<Frame> {
        let calls: Vec<u64> = addresses.iter().copied().map(call_before).collect();
        let maps = process.map(|process| process.maps(&calls)).unwrap_or_default();
        let Some(process) = process.filter(|_| !maps.is_empty()) else { return self.gone(code, addresses) };
        let frames = addresses.iter().zip(&calls).flat_map(|(&address, &call)| match maps.find(call) {
            Some(mapping) => self.in_mapping(process, mapping, address),
            // The program may have been another at the time.
            None => self.gone(code, &[address]),
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
            if let Some(file) = &file {
                self.builds.learn(file, &mapping.name);
            }
            file.map(|file| self.modules.insert(file).frames(offset)).unwrap_or_default()
        });
        completed(found, known)
    }
}

/// What was found in a file, with what is known of the address anyway; that alone when nothing was found.
fn completed(found: Vec<Frame>, known: &Frame) -> Vec<Frame> {
    if found.is_empty() {
        return vec![known.clone()];
    }
    let complete = |frame: Frame| Frame {
        address: known.address,
        module: known.module.clone(),
        module_offset: known.module_offset,
        build_id: known.build_id.clone(),
        ..frame
    };
    found.into_iter().map(complete).collect()
}

/// A return address points behind the call; the byte before it is still inside.
fn call_before(address: u64) -> u64 {
    address.saturating_sub(1)
}

#[cfg(test)]
mod tests;
