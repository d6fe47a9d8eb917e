//! What an ELF object of BPF programs holds, as compilers and linkers for BPF write it.

use std::collections::BTreeMap;

use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags, RelocationTarget, SectionIndex,
    SectionKind, SymbolKind, elf, read::elf::ElfFile64,
};
use thiserror::Error;

use crate::insn::{Insn, Insns, call, decode, encode, op, pseudo};

/// Why an object cannot be taken apart.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// Not ELF, or not for BPF.
    #[error("not a BPF object: {0}")]
    NotBpf(String),
    /// Something in it is not as the tools for BPF write it.
    #[error("{place}: {what}")]
    Unexpected {
        /// Where.
        place: String,
        /// What is wrong.
        what: String,
    },
}

fn unexpected(place: &str, what: impl Into<String>) -> ObjectError {
    ObjectError::Unexpected { place: place.into(), what: what.into() }
}

/// An object taken apart.
#[derive(Clone, Debug, Default)]
pub struct Object {
    /// Names of all sections, in order.
    pub sections: Vec<String>,
    /// The licence that the kernel is told, without its final zero.
    pub license: String,
    /// Programs that can be attached.
    pub programs: Vec<Program>,
    /// Maps of the legacy `maps` section.
    pub maps: Vec<MapDef>,
    /// Named values of data sections.
    pub globals: Vec<Global>,
    /// Contents of data sections, by name.
    pub data: BTreeMap<String, Vec<u8>>,
    /// Type information: the `.BTF` section.
    pub btf: Option<Vec<u8>>,
}

/// A program, linked with the functions that it calls: they follow it, each once.
#[derive(Clone, Debug)]
pub struct Program {
    /// Name of its symbol.
    pub name: String,
    /// Name of its section, which says what it attaches to.
    pub section: String,
    /// All its instructions.
    pub insns: Insns,
    /// What wide loads refer to, by slot.
    pub links: BTreeMap<usize, Link>,
    /// First slot and name of each function; the program itself comes first.
    pub functions: Vec<(usize, String)>,
    /// Where each function starts in the file.
    file_offsets: Vec<usize>,
}

/// What a wide load refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// A map, by name.
    Map(String),
    /// A byte of a data section.
    Data {
        /// The section.
        section: String,
        /// Where in it.
        offset: usize,
    },
}

/// A map as the object defines it: `struct bpf_map_def`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDef {
    /// Name of its symbol.
    pub name: String,
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries, or bytes of a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*`
    pub flags: u32,
    /// True when it is to outlive the process.
    pub is_pinned: bool,
}

/// A named value of a data section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Name of its symbol.
    pub name: String,
    /// The data section.
    pub section: String,
    /// Where in it.
    pub offset: usize,
    /// How long.
    pub size: usize,
}

/// What a `bpf_map_def` takes: seven words.
const MAP_DEF_LEN: usize = 28;

impl Object {
    /// Takes an ELF file apart.
    pub fn parse(bytes: &[u8]) -> Result<Self, ObjectError> {
        Parser::new(bytes)?.object()
    }

    /// A program by name.
    pub fn program(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.name == name)
    }

    /// A map by name.
    pub fn map(&self, name: &str) -> Option<&MapDef> {
        self.maps.iter().find(|map| map.name == name)
    }

    /// A global by name.
    pub fn global(&self, name: &str) -> Option<&Global> {
        self.globals.iter().find(|global| global.name == name)
    }
}

impl Program {
    /// The program's own instructions as bytes, linked; of use for comparing and counting.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(&self.insns)
    }

    /// Where a slot stands in the file.
    pub fn file_offset(&self, slot: usize) -> Option<usize> {
        let function = self.functions.iter().rposition(|(start, _)| *start <= slot)?;
        Some(self.file_offsets.get(function)? + (slot - self.functions[function].0) * 8)
    }

    /// True for the second slot of a 64-bit immediate load, which is no instruction of its own.
    pub fn is_second_half(&self, slot: usize) -> bool {
        slot > 0 && self.insns[slot - 1].is_wide()
    }

    /// The function that a slot belongs to.
    pub fn function_at(&self, slot: usize) -> &str {
        let inside = self.functions.iter().rev().find(|(start, _)| *start <= slot);
        inside.map_or("", |(_, name)| name)
    }
}

/// A section's bytes, of any ELF file.
pub fn section(elf: &[u8], name: &str) -> Option<Vec<u8>> {
    let elf = object::File::parse(elf).ok()?;
    Some(elf.section_by_name(name)?.data().ok()?.to_vec())
}

type Elf<'data> = ElfFile64<'data, object::LittleEndian>;

struct Parser<'data> {
    elf: Elf<'data>,
}

/// A function of the object before linking.
struct Function<'data> {
    name: &'data str,
    section: SectionIndex,
    address: u64,
    size: u64,
}

impl<'data> Parser<'data> {
    fn new(bytes: &'data [u8]) -> Result<Self, ObjectError> {
        let elf = Elf::parse(bytes).map_err(|error| ObjectError::NotBpf(error.to_string()))?;
        if elf.elf_header().e_machine.get(object::LittleEndian) != elf::EM_BPF {
            return Err(ObjectError::NotBpf("for another machine".into()));
        }
        Ok(Self { elf })
    }

    fn object(&self) -> Result<Object, ObjectError> {
        let mut object = Object::default();
        for section in self.elf.sections() {
            let name = section.name().map_err(|error| unexpected("a section", error.to_string()))?;
            let bytes = section.data().map_err(|error| unexpected(name, error.to_string()))?;
            object.sections.push(name.to_owned());
            match name {
                "license" => {
                    let text = bytes.strip_suffix(b"\0").ok_or_else(|| unexpected(name, "no final zero"))?;
                    object.license = String::from_utf8_lossy(text).into_owned();
                }
                "maps" => object.maps = self.maps(section.index(), bytes)?,
                ".BTF" => object.btf = Some(bytes.to_vec()),
                _ if is_data(name, section.kind()) => {
                    object.globals.extend(self.globals(section.index(), name)?);
                    object.data.insert(name.to_owned(), bytes.to_vec());
                }
                _ => {}
            }
        }
        object.programs = self.programs()?;
        Ok(object)
    }

    fn symbols_in(&self, section: SectionIndex, kind: SymbolKind) -> Vec<(&'data str, u64, u64)> {
        let symbols = self
            .elf
            .symbols()
            .filter(|symbol| symbol.section_index() == Some(section) && symbol.kind() == kind);
        let mut found: Vec<_> = symbols
            .filter_map(|symbol| Some((symbol.name().ok()?, symbol.address(), symbol.size())))
            .collect();
        found.sort_by_key(|&(_, address, _)| address);
        found
    }

    fn maps(&self, section: SectionIndex, bytes: &[u8]) -> Result<Vec<MapDef>, ObjectError> {
        self.symbols_in(section, SymbolKind::Data)
            .into_iter()
            .map(|(name, address, _)| {
                let start =
                    usize::try_from(address).map_err(|_| unexpected(name, "lies beyond its section"))?;
                let words = start
                    .checked_add(MAP_DEF_LEN)
                    .and_then(|end| bytes.get(start..end))
                    .ok_or_else(|| unexpected(name, "is shorter than a map definition"))?;
                let word = |index: usize| {
                    let at = index * 4;
                    u32::from_le_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]])
                };
                Ok(MapDef {
                    name: name.into(),
                    kind: word(0),
                    key_size: word(1),
                    value_size: word(2),
                    max_entries: word(3),
                    flags: word(4),
                    is_pinned: word(6) != 0,
                })
            })
            .collect()
    }

    fn globals(&self, section: SectionIndex, name: &str) -> Result<Vec<Global>, ObjectError> {
        let place = |value: u64| usize::try_from(value).map_err(|_| unexpected(name, "too large"));
        self.symbols_in(section, SymbolKind::Data)
            .into_iter()
            .map(|(global, address, size)| {
                Ok(Global {
                    name: global.into(),
                    section: name.into(),
                    offset: place(address)?,
                    size: place(size)?,
                })
            })
            .collect()
    }

    fn functions(&self) -> Vec<Function<'data>> {
        let texts = self.elf.sections().filter(|section| section.kind() == SectionKind::Text);
        texts
            .flat_map(|section| {
                let index = section.index();
                self.symbols_in(index, SymbolKind::Text)
                    .into_iter()
                    .map(move |(name, address, size)| Function { name, section: index, address, size })
            })
            .collect()
    }

    /// Every function outside `.text` is a program; those inside are only called.
    fn programs(&self) -> Result<Vec<Program>, ObjectError> {
        let functions = self.functions();
        let mut programs = Vec::new();
        for function in &functions {
            let section = self.section_name(function.section)?;
            if section == ".text" {
                continue;
            }
            let mut program = Program {
                name: function.name.into(),
                section: section.into(),
                insns: Vec::new(),
                links: BTreeMap::new(),
                functions: Vec::new(),
                file_offsets: Vec::new(),
            };
            self.link(&mut program, function, &functions)?;
            programs.push(program);
        }
        Ok(programs)
    }

    fn section_name(&self, index: SectionIndex) -> Result<&'data str, ObjectError> {
        let section = self.elf.section_by_index(index);
        section.and_then(|section| section.name()).map_err(|error| unexpected("a section", error.to_string()))
    }

    /// Appends a function, and what it calls, to a program. Returns where it starts.
    fn link(
        &self,
        program: &mut Program,
        function: &Function<'_>,
        all: &[Function<'_>],
    ) -> Result<usize, ObjectError> {
        if let Some((start, _)) = program.functions.iter().find(|(_, name)| name == function.name) {
            return Ok(*start);
        }
        let start = program.insns.len();
        program.functions.push((start, function.name.into()));
        let section = self.elf.section_by_index(function.section);
        let section = section.map_err(|error| unexpected(function.name, error.to_string()))?;
        let in_file = section.file_range().map_or(0, |(at, _)| at).saturating_add(function.address);
        program.file_offsets.push(usize::try_from(in_file).unwrap_or(usize::MAX));
        let bytes = section.data_range(function.address, function.size).ok().flatten();
        let insns = bytes.and_then(decode).ok_or_else(|| unexpected(function.name, "half an instruction"))?;
        program.insns.extend(insns);
        for (address, relocation) in section.relocations() {
            if !(function.address..function.address.saturating_add(function.size)).contains(&address) {
                continue;
            }
            let slot = start + usize::try_from((address - function.address) / 8).unwrap_or(usize::MAX);
            self.relocate(program, slot, &relocation, all)?;
        }
        Ok(start)
    }

    fn relocate(
        &self,
        program: &mut Program,
        slot: usize,
        relocation: &object::Relocation,
        all: &[Function<'_>],
    ) -> Result<(), ObjectError> {
        let place = format!("{} at {slot}", program.name);
        let wrong = |what: &str| unexpected(&place, what);
        let RelocationFlags::Elf { r_type } = relocation.flags() else {
            return Err(wrong("not an ELF relocation"));
        };
        let RelocationTarget::Symbol(symbol) = relocation.target() else {
            return Err(wrong("it has no symbol"));
        };
        let symbol = self.elf.symbol_by_index(symbol).map_err(|error| wrong(&error.to_string()))?;
        let insn: Insn = *program.insns.get(slot).ok_or_else(|| wrong("it lies outside"))?;
        let section = symbol.section_index().ok_or_else(|| wrong("its symbol is undefined"))?;
        match (r_type, insn.op) {
            (elf::R_BPF_64_64, op::LD_IMM64) => {
                let addend = u64::from(insn.imm.cast_unsigned());
                self.relocate_load(program, slot, section, &symbol, addend)
            }
            (elf::R_BPF_64_32, op::CALL) if insn.src == call::LOCAL => {
                // The compiler counts from the instruction after the call, within the symbol's section.
                let within = (i64::from(insn.imm) + 1) * 8;
                let address =
                    symbol.address().checked_add_signed(within).ok_or_else(|| wrong("a wild call"))?;
                let callee = all.iter().find(|f| f.section == section && f.address == address);
                let callee = callee.ok_or_else(|| wrong("it calls no function"))?;
                let target = self.link(program, callee, all)?;
                let distance = isize::try_from(target).unwrap_or(0) - isize::try_from(slot).unwrap_or(0) - 1;
                program.insns[slot].imm = i32::try_from(distance).map_err(|_| wrong("a call too far"))?;
                Ok(())
            }
            _ => Err(wrong("a relocation that does not fit its instruction")),
        }
    }

    fn relocate_load(
        &self,
        program: &mut Program,
        slot: usize,
        section: SectionIndex,
        symbol: &object::read::elf::ElfSymbol64<'_, '_, object::LittleEndian>,
        addend: u64,
    ) -> Result<(), ObjectError> {
        let place = format!("{} at {slot}", program.name);
        let section_name = self.section_name(section)?;
        let link = if section_name == "maps" {
            program.insns[slot].src = pseudo::MAP;
            Link::Map(symbol.name().map_err(|error| unexpected(&place, error.to_string()))?.to_owned())
        } else {
            program.insns[slot].src = pseudo::MAP_VALUE;
            let size = self.elf.section_by_index(section).map_or(0, |section| section.size());
            let offset = symbol.address().checked_add(addend).filter(|offset| *offset < size);
            let offset = offset.and_then(|offset| usize::try_from(offset).ok());
            let offset = offset.ok_or_else(|| unexpected(&place, "an address outside its section"))?;
            Link::Data { section: section_name.to_owned(), offset }
        };
        program.links.insert(slot, link);
        Ok(())
    }
}

fn is_data(name: &str, kind: SectionKind) -> bool {
    matches!(kind, SectionKind::Data | SectionKind::ReadOnlyData | SectionKind::UninitializedData)
        && [".rodata", ".data", ".bss"].iter().any(|prefix| name.starts_with(prefix))
}
