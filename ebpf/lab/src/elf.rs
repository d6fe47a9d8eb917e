//! Writes small objects: what a compiler would have made of a program of a few lines.

use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope, elf,
    write::{Object, Relocation, Symbol, SymbolId, SymbolSection},
};

use crate::{
    insn::{Insn, encode, op},
    object::MapDef,
};

/// Writes an object with one program and the maps that it refers to: the program's wide loads take them in
/// the order of `links`.
///
/// # Panics
///
/// When there are fewer links than wide loads, or a link names no map: a mistake in the test itself.
pub fn write(section: &str, insns: &[Insn], maps: &[MapDef], links: &[&str]) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);
    let symbols = add_maps(&mut object, maps);

    let text = object.add_section(Vec::new(), section.as_bytes().to_vec(), SectionKind::Text);
    let bytes = encode(insns);
    object.append_section_data(text, &bytes, 8);
    object.add_symbol(symbol(
        "program",
        SymbolKind::Text,
        SymbolSection::Section(text),
        0,
        bytes.len() as u64,
    ));
    let loads = insns.iter().enumerate().filter(|(_, insn)| insn.op == op::LD_IMM64);
    for ((slot, _), link) in loads.zip(links) {
        let map = maps.iter().position(|map| map.name == *link).expect("a link names one of the maps");
        let relocation = Relocation {
            offset: slot as u64 * 8,
            symbol: symbols[map],
            addend: 0,
            flags: RelocationFlags::Elf { r_type: elf::R_BPF_64_64 },
        };
        object.add_relocation(text, relocation).expect("ELF for BPF has this relocation");
    }
    object.write().expect("sections and symbols are complete")
}

fn add_maps(object: &mut Object<'_>, maps: &[MapDef]) -> Vec<SymbolId> {
    if maps.is_empty() {
        return Vec::new();
    }
    let section = object.add_section(Vec::new(), b"maps".to_vec(), SectionKind::Data);
    maps.iter()
        .map(|map| {
            let words = [
                map.kind,
                map.key_size,
                map.value_size,
                map.max_entries,
                map.flags,
                0,
                u32::from(map.is_pinned),
            ];
            let bytes = words.map(u32::to_le_bytes).concat();
            let at = object.append_section_data(section, &bytes, 4);
            object.add_symbol(symbol(
                &map.name,
                SymbolKind::Data,
                SymbolSection::Section(section),
                at,
                bytes.len() as u64,
            ))
        })
        .collect()
}

fn symbol(name: &str, kind: SymbolKind, section: SymbolSection, value: u64, size: u64) -> Symbol {
    Symbol {
        name: name.as_bytes().to_vec(),
        value,
        size,
        kind,
        scope: SymbolScope::Linkage,
        weak: false,
        section,
        flags: SymbolFlags::None,
    }
}
