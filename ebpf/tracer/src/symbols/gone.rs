//! Stacks of processes whose mappings nobody could read: by what the kernel kept of their code. A path is not
//! trusted: a file is asked only if it is the executable's inode, or has the build id that was mapped.

use std::path::Path;

use super::{
    Frame, Symbols, call_before, completed,
    file::{self, Found},
    image::Headers,
    module::FileId,
};
use crate::{
    code::{BuildId, Code},
    process::Maps,
    recent::Recent,
};

/// Files of which the build id is remembered. A host's processes share some hundred.
const MAX_BUILDS: usize = 4096;

/// Where files of a build were seen, in mappings of this process and of those that were looked at.
#[derive(Debug)]
pub(super) struct Builds {
    seen: Recent<BuildId, Build>,
    has_own: bool,
}

#[derive(Clone, Debug)]
struct Build {
    name: Box<Path>,
    file: FileId,
}

impl Builds {
    pub(super) fn new() -> Self {
        Self { seen: Recent::new(MAX_BUILDS), has_own: false }
    }

    /// Remembers a file by its build id, if it has one.
    pub(super) fn learn(&mut self, found: &Found, name: &Path) {
        if let Some(id) = Headers::read(&found.file).build_id {
            self.seen.insert(id, Build { name: name.into(), file: found.id });
        }
    }

    fn get(&mut self, id: BuildId) -> Option<Build> {
        if !self.has_own {
            self.has_own = true;
            self.learn_own();
        }
        self.seen.get(&id).cloned()
    }

    /// What this process has mapped, others have as well: the C library above all.
    fn learn_own(&mut self) {
        let maps = Maps::read(std::process::id()).unwrap_or_default();
        for mapping in maps.iter().filter(|mapping| mapping.is_file()) {
            if let Some(found) = file::at(&mapping.name) {
                self.learn(&found, &mapping.name);
            }
        }
    }
}

/// An executable that was found again.
struct Executable {
    file: FileId,
    headers: Headers,
}

impl Symbols {
    /// Frames by what the kernel kept.
    pub(super) fn gone(&mut self, code: Option<&Code>, addresses: &[u64]) -> Vec<Frame> {
        let Some(code) = code else { return addresses.iter().copied().map(Frame::bare).collect() };
        let is_of_executable = |&address: &u64| code.is_of_executable(call_before(address));
        let executable = addresses.iter().any(is_of_executable).then(|| self.executable(code)).flatten();
        let frames = addresses.iter().flat_map(|&address| {
            if is_of_executable(&address) {
                self.in_executable(code, executable.as_ref(), address)
            } else {
                self.in_build(code, address)
            }
        });
        frames.collect()
    }

    /// The executable, if what its path leads to is what was run.
    fn executable(&mut self, code: &Code) -> Option<Executable> {
        let found = file::at(code.executable.as_deref()?)?;
        let headers = Headers::read(&found.file);
        let (device, inode) = code.file;
        // File systems made of others show another device in stat; then the build must do as proof.
        let is_same_build = code.build_id().is_some_and(|id| headers.build_id == Some(id));
        if !found.is(device, inode) && !is_same_build {
            return None;
        }
        let file = found.id;
        self.modules.insert(found);
        Some(Executable { file, headers })
    }

    fn in_executable(&mut self, code: &Code, executable: Option<&Executable>, address: u64) -> Vec<Frame> {
        let place = code.place(address);
        let by_headers = || executable?.headers.offset_at(call_before(address), code.end)?.checked_add(1);
        let offset = place.map(|place| place.offset).or_else(by_headers);
        let known = Frame {
            module: code.executable.as_ref().map(|path| path.to_string_lossy().into_owned()),
            module_offset: offset,
            build_id: place.map(|place| place.build_id.to_string()),
            ..Frame::bare(address)
        };
        let found = executable.zip(offset).and_then(|(executable, offset)| {
            Some(self.modules.get(executable.file)?.frames(call_before(offset)))
        });
        completed(found.unwrap_or_default(), &known)
    }

    /// A frame of a library: by its build id, which tells what it is, and perhaps where another has it.
    fn in_build(&mut self, code: &Code, address: u64) -> Vec<Frame> {
        let Some(place) = code.place(address) else { return vec![Frame::bare(address)] };
        let build = self.builds.get(place.build_id);
        let known = Frame {
            module: build.as_ref().map(|build| build.name.to_string_lossy().into_owned()),
            module_offset: Some(place.offset),
            build_id: Some(place.build_id.to_string()),
            ..Frame::bare(address)
        };
        let offset = call_before(place.offset);
        let found = build.map(|build| match self.modules.get(build.file) {
            Some(module) => module.frames(offset),
            None => match file::at(&build.name).filter(|found| found.id == build.file) {
                Some(found) => self.modules.insert(found).frames(offset),
                None => Vec::new(),
            },
        });
        completed(found.unwrap_or_default(), &known)
    }
}

#[cfg(test)]
mod tests;
