//! The kernel's symbols, `/proc/kallsyms`: read once for all traces of this process, and again when what it is
//! needed for has changed. The kernel's own functions never move; modules come and go, and `/proc/modules` tells;
//! of BPF programs nothing tells.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

/// What this process read last.
static NEWEST: Mutex<Option<Arc<Kallsyms>>> = Mutex::new(None);

/// Stands for the kernel itself in [`Symbol::module`].
const CORE: u16 = 0;
/// Stands for what is no module: BPF programs and trampolines.
const NO_MODULE: u16 = u16::MAX;

/// Functions, and where they are.
#[derive(Debug, Default)]
pub(super) struct Kallsyms {
    /// By address; of several names for one, the one that the kernel tells first.
    symbols: Vec<Symbol>,
    names: String,
    /// The kernel's own functions.
    core: Range<u64>,
    modules: Vec<Module>,
}

#[derive(Clone, Copy, Debug)]
struct Symbol {
    address: u64,
    name: u32,
    len: u16,
    /// [`CORE`], [`NO_MODULE`], or one more than the place in `modules`.
    module: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Module {
    name: String,
    range: Range<u64>,
}

/// A function and how far into it an address lies.
pub(super) type Place<'a> = (&'a str, u64);

impl Kallsyms {
    /// What was read last, or reads it for the first time.
    pub(super) fn shared() -> Arc<Self> {
        let mut newest = NEWEST.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(newest.get_or_insert_with(Self::read))
    }

    /// The same, if no module was loaded or unloaded since; else reads again.
    pub(super) fn of_these_modules() -> Arc<Self> {
        let mut newest = NEWEST.lock().unwrap_or_else(PoisonError::into_inner);
        let current = newest.take().filter(|known| known.modules == modules());
        Arc::clone(newest.insert(current.unwrap_or_else(Self::read)))
    }

    /// Reads again.
    pub(super) fn reread() -> Arc<Self> {
        let mut newest = NEWEST.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(newest.insert(Self::read()))
    }

    fn read() -> Arc<Self> {
        let symbols =
            || Self::parse(&mut BufReader::with_capacity(64 << 10, File::open("/proc/kallsyms")?), modules());
        // Without symbols, frames have addresses; `doctor` says why.
        Arc::new(symbols().unwrap_or_default())
    }

    fn parse(lines: &mut impl BufRead, modules: Vec<Module>) -> io::Result<Self> {
        let mut table = Self { modules, ..Self::default() };
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            table.take(&line);
            line.clear();
        }
        table.symbols.sort_by_key(|symbol| symbol.address);
        table.symbols.dedup_by_key(|symbol| symbol.address);
        table.symbols.shrink_to_fit();
        Ok(table)
    }

    /// One line: address, type, name and, for what is not the kernel's own, the module in brackets.
    fn take(&mut self, line: &[u8]) {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        let Some(address) = hexadecimal(address).filter(|&address| address != 0) else { return };
        match name {
            b"_stext" => self.core.start = address,
            b"_etext" => self.core.end = address,
            _ => {}
        }
        if !matches!(kind, b"t" | b"T" | b"w" | b"W") {
            return;
        }
        let module = words.next().map_or(CORE, |module| self.module_number(module));
        let (Ok(name), Ok(at)) = (std::str::from_utf8(name), u32::try_from(self.names.len())) else { return };
        let Ok(len) = u16::try_from(name.len()) else { return };
        self.names.push_str(name);
        self.symbols.push(Symbol { address, name: at, len, module });
    }

    fn module_number(&self, bracketed: &[u8]) -> u16 {
        let name = bracketed.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(bracketed);
        let at = self.modules.iter().position(|module| module.name.as_bytes() == name);
        at.and_then(|at| u16::try_from(at + 1).ok()).unwrap_or(NO_MODULE)
    }

    /// True when the kernel hides its addresses.
    pub(super) fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// A function of the kernel itself. Never out of date.
    pub(super) fn core(&self, address: u64) -> Option<Place<'_>> {
        if !self.core.contains(&address) {
            return None;
        }
        self.nearest(address, |symbol| symbol.module == CORE)
    }

    /// A function of a module that was loaded when this was read.
    pub(super) fn module(&self, address: u64) -> Option<Place<'_>> {
        let at = self.modules.iter().position(|module| module.range.contains(&address))?;
        self.nearest(address, |symbol| usize::from(symbol.module) == at + 1)
    }

    /// A BPF program or a trampoline: right only if this was read just now.
    pub(super) fn program(&self, address: u64) -> Option<Place<'_>> {
        self.nearest(address, |symbol| symbol.module == NO_MODULE)
    }

    /// The last function that starts at or before the address, if it is of the right kind: kallsyms knows no sizes.
    fn nearest(&self, address: u64, is_right: impl Fn(&Symbol) -> bool) -> Option<Place<'_>> {
        let after = self.symbols.partition_point(|symbol| symbol.address <= address);
        let symbol = self.symbols[..after].last().filter(|symbol| is_right(symbol))?;
        let name = self.names.get(symbol.name as usize..)?.get(..symbol.len.into())?;
        Some((name, address - symbol.address))
    }
}

/// What is loaded now; nothing where there are no modules or their addresses are hidden.
fn modules() -> Vec<Module> {
    fs::read_to_string("/proc/modules").unwrap_or_default().lines().filter_map(module).collect()
}

/// `nf_conntrack 172032 2 nf_nat,nft_ct, Live 0xffffffffc0520000`
fn module(line: &str) -> Option<Module> {
    let words: Vec<&str> = line.split(' ').collect();
    let start = hexadecimal(words.get(5)?.strip_prefix("0x")?.as_bytes())?;
    let range = start..start.checked_add(words.get(1)?.parse().ok()?)?;
    (start != 0).then(|| Module { name: words[0].to_owned(), range })
}

/// By hand: this is done for each of 200,000 lines.
fn hexadecimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(number << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "ffffffff81000000 T _stext\n\
        ffffffff81000100 T __pfx_tcp_connect\n\
        ffffffff81000110 T tcp_connect\n\
        ffffffff81000110 T tcp_connect_alias\n\
        ffffffff81000180 d a_variable\n\
        ffffffff81000200 D _etext\n\
        ffffffffc0000000 t nf_hook\t[nf_tables]\n\
        ffffffffc0009000 t bpf_prog_12ab_probe\t[bpf]\n\
        0000000000000000 T hidden\n\
        rubbish\n";
    const MODULES: &str = "nf_tables 4096 0 - Live 0xffffffffc0000000\n";

    fn table() -> Kallsyms {
        Kallsyms::parse(&mut TEXT.as_bytes(), MODULES.lines().filter_map(module).collect()).unwrap()
    }

    #[test]
    fn functions_are_found_where_they_are() {
        let table = table();
        assert_eq!(table.core(0xffff_ffff_8100_0190), Some(("tcp_connect", 0x80)));
        assert_eq!(table.core(0xffff_ffff_8100_0200), None, "behind the kernel's last function");
        assert_eq!(table.core(0xffff_ffff_80ff_ffff), None);
        assert_eq!(table.module(0xffff_ffff_c000_0010), Some(("nf_hook", 0x10)));
    }

    #[test]
    fn a_module_ends_where_the_kernel_says() {
        let table = table();
        assert_eq!(table.module(0xffff_ffff_c000_1000), None, "behind the module's last byte");
        assert_eq!(table.program(0xffff_ffff_c000_9001), Some(("bpf_prog_12ab_probe", 1)));
        assert_eq!(table.program(0xffff_ffff_c000_0010), None, "a module's function is no program");
    }

    #[test]
    fn hidden_addresses_give_no_names() {
        let hidden = "0000000000000000 T _stext\n0000000000000000 T tcp_connect\n0000000000000000 T _etext\n";
        let table = Kallsyms::parse(&mut hidden.as_bytes(), Vec::new()).unwrap();
        assert!(table.is_empty() && table.core(0x10).is_none());
        assert_eq!(module("nf_tables 4096 0 - Live 0x0000000000000000"), None);
    }
}
