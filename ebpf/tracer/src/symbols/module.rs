//! Files with code, and the symbols in them.

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
};

use blazesym::symbolize::{
    CodeInfo, Input, Sym, Symbolizer,
    source::{Elf, Source},
};

pub(super) use super::file::FileId;
use super::{
    Frame, elf,
    file::{Found, path_of},
};
use crate::recent::Recent;

/// Files kept open. Beyond, those not used for the longest are closed.
const MAX_MODULES: usize = 64;
/// Memory for copies of files that others may change. A larger file is shown by offset only.
const MAX_COPIED: u64 = 256 << 20;
/// Offsets remembered of one file.
const MAX_OFFSETS: usize = 4096;

/// Files whose symbols are at hand, the one used last at the end.
#[derive(Debug, Default)]
pub(super) struct Modules {
    modules: Vec<Module>,
}

impl Modules {
    pub(super) fn get(&mut self, id: FileId) -> Option<&mut Module> {
        let at = self.modules.iter().position(|module| module.id == id)?;
        let module = self.modules.remove(at);
        self.modules.push(module);
        self.modules.last_mut()
    }

    pub(super) fn insert(&mut self, found: Found) -> &mut Module {
        let new = match self.modules.iter().position(|module| module.id == found.id) {
            Some(at) => self.modules.remove(at),
            None => Module::open(found),
        };
        let mut copied: u64 = new.copied + self.modules.iter().map(|module| module.copied).sum::<u64>();
        while !self.modules.is_empty() && (self.modules.len() >= MAX_MODULES || copied > MAX_COPIED) {
            copied -= self.modules.remove(0).copied;
        }
        self.modules.push_mut(new)
    }
}

/// One file.
#[derive(Debug)]
pub(super) struct Module {
    id: FileId,
    /// Bytes of memory that its copy takes.
    copied: u64,
    /// `None` when its symbols are out of reach.
    image: Option<Image>,
    /// What was found at offsets in the file, innermost inlined function first.
    frames: Recent<u64, Vec<Frame>>,
}

impl Module {
    fn open(found: Found) -> Self {
        let copied = if found.trusted { 0 } else { found.size };
        let id = found.id;
        let image = if found.trusted {
            Some(Image::of_this_host(found.file))
        } else if copied <= MAX_COPIED {
            elf::copy(found.file, found.size).ok().map(Image::of_a_stranger)
        } else {
            None
        };
        let copied = if image.is_some() { copied } else { 0 };
        Self { id, copied, image, frames: Recent::new(MAX_OFFSETS) }
    }

    /// The function at an offset in the file, and those that were inlined there; nothing when none is known.
    pub(super) fn frames(&mut self, offset: u64) -> Vec<Frame> {
        if let Some(known) = self.frames.get(&offset) {
            return known.clone();
        }
        let found = match &mut self.image {
            Some(image) => image.look_up(offset),
            None => Vec::new(),
        };
        self.frames.insert(offset, found.clone());
        found
    }
}

#[derive(Debug)]
struct Image {
    /// Kept open: the symbolizer knows it by its descriptor.
    file: File,
    symbolizer: Symbolizer,
    /// Debug information is there to be tried.
    debug: bool,
}

impl Image {
    fn of_this_host(file: File) -> Self {
        Self { file, symbolizer: Symbolizer::builder().enable_auto_reload(false).build(), debug: true }
    }

    fn of_a_stranger(copy: File) -> Self {
        let builder = Symbolizer::builder().enable_auto_reload(false).set_debug_dirs(Some([""; 0]));
        Self { debug: elf::has_plain_debug_info(&copy), file: copy, symbolizer: builder.build() }
    }

    /// Debug information first. What cannot be read of it must not hide the ELF symbols.
    fn look_up(&mut self, offset: u64) -> Vec<Frame> {
        if self.debug {
            match self.symbolize(offset, true) {
                Ok(frames) if !frames.is_empty() => return frames,
                Ok(_) => {}
                Err(Unreadable) => self.debug = false,
            }
        }
        self.symbolize(offset, false).unwrap_or_default()
    }

    fn symbolize(&self, offset: u64, debug: bool) -> Result<Vec<Frame>, Unreadable> {
        let mut elf = Elf::new(path_of(&self.file));
        elf.debug_syms = debug;
        let source = Source::Elf(elf);
        // Whatever is in the file, the trace goes on.
        let found = catch_unwind(AssertUnwindSafe(|| {
            let found = self.symbolizer.symbolize_single(&source, Input::FileOffset(offset));
            found.map(|symbol| symbol.as_sym().map(frames).unwrap_or_default())
        }));
        found.map_err(|_| Unreadable)?.map_err(|_| Unreadable)
    }
}

/// The file's symbols or debug information cannot be made sense of.
struct Unreadable;

fn frames(symbol: &Sym<'_>) -> Vec<Frame> {
    let inlined = symbol
        .inlined
        .iter()
        .rev()
        .map(|inlined| Frame { inlined: true, ..frame(&inlined.name, inlined.code_info.as_ref()) });
    let outermost = Frame {
        // One back for the byte that was subtracted before the look-up.
        offset: Some(symbol.offset as u64 + 1),
        ..frame(&symbol.name, symbol.code_info.as_deref())
    };
    inlined.chain([outermost]).collect()
}

fn frame(name: &str, code: Option<&CodeInfo<'_>>) -> Frame {
    Frame {
        function: (!name.is_empty()).then(|| name.to_owned()),
        file: code.map(|code| code.to_path().into_owned()),
        line: code.and_then(|code| code.line),
        ..Frame::default()
    }
}
