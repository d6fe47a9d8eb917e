//! Addresses to functions, by blazesym.

use std::{collections::HashMap, path::PathBuf};

use blazesym::{
    MaybeDefault, Pid,
    symbolize::{
        Input, Symbolized, Symbolizer,
        source::{Kernel, Process, Source},
    },
};

/// One frame of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The return address.
    pub address: u64,
    /// Function, when it is known.
    pub function: Option<String>,
    /// Bytes from the start of the function.
    pub offset: Option<u64>,
    /// File that the code was mapped from.
    pub module: Option<String>,
    /// Source file, where there is debug information.
    pub file: Option<PathBuf>,
    /// Line in the source file.
    pub line: Option<u32>,
}

impl Frame {
    fn bare(address: u64) -> Self {
        Self { address, ..Self::default() }
    }
}

/// Turns stacks into frames. Reads files and /proc, so it belongs on a thread that may block.
#[derive(Debug)]
pub struct Symbols {
    symbolizer: Symbolizer,
    kernel: HashMap<u64, Frame>,
    /// By process id and address. A process id that was given to another process finds other addresses, in
    /// all likelihood; entries of dead processes leave when the cache is full.
    user: HashMap<(u32, u64), Frame>,
}

/// Frames kept of each kind. When a cache is full it starts over.
const CACHED_FRAMES: usize = 16_384;

impl Default for Symbols {
    fn default() -> Self {
        Self::new()
    }
}

impl Symbols {
    /// Nothing is read yet.
    pub fn new() -> Self {
        Self { symbolizer: Symbolizer::new(), kernel: HashMap::new(), user: HashMap::new() }
    }

    /// Frames of a kernel stack, from /proc/kallsyms.
    pub fn kernel(&mut self, addresses: &[u64]) -> Vec<Frame> {
        let source = Source::Kernel(Kernel {
            // A vmlinux on disk may be of another build than the one that runs.
            vmlinux: MaybeDefault::None,
            ..Kernel::default()
        });
        look_up(&self.symbolizer, &source, &mut self.kernel, addresses, |address| address)
    }

    /// Frames of a user stack of the process, as far as the process is still there to be asked.
    pub fn user(&mut self, pid: u32, addresses: &[u64]) -> Vec<Frame> {
        let source = Source::Process(Process::new(Pid::from(pid)));
        look_up(&self.symbolizer, &source, &mut self.user, addresses, |address| (pid, address))
    }
}

fn look_up<K: std::hash::Hash + Eq>(
    symbolizer: &Symbolizer,
    source: &Source<'_>,
    cache: &mut HashMap<K, Frame>,
    addresses: &[u64],
    key: impl Fn(u64) -> K,
) -> Vec<Frame> {
    let mut unknown: Vec<u64> =
        addresses.iter().copied().filter(|&address| !cache.contains_key(&key(address))).collect();
    unknown.dedup();
    if cache.len() + unknown.len() > CACHED_FRAMES {
        cache.clear();
        unknown = addresses.to_vec();
    }
    // A return address points behind the call; the byte before it is still inside.
    let calls: Vec<u64> = unknown.iter().map(|address| address.saturating_sub(1)).collect();
    if let Ok(found) = symbolizer.symbolize(source, Input::AbsAddr(&calls)) {
        for (&address, symbol) in unknown.iter().zip(&found) {
            cache.insert(key(address), frame(address, symbol));
        }
    }
    let frames = addresses.iter().map(|&address| cache.get(&key(address)).cloned());
    frames.zip(addresses).map(|(frame, &address)| frame.unwrap_or_else(|| Frame::bare(address))).collect()
}

fn frame(address: u64, symbol: &Symbolized<'_>) -> Frame {
    let Symbolized::Sym(symbol) = symbol else { return Frame::bare(address) };
    let code = symbol.code_info.as_ref();
    Frame {
        address,
        function: Some(symbol.name.to_string()),
        // One back for the byte that was subtracted before the look-up.
        offset: Some(symbol.offset as u64 + 1),
        module: symbol.module.as_ref().map(|module| module.to_string_lossy().into_owned()),
        file: code.map(|code| code.to_path().into_owned()),
        line: code.and_then(|code| code.line),
    }
}
