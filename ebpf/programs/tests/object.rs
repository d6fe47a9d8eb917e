//! Layer 1: what can be said of the shipped object without executing it.

use std::collections::{BTreeMap, BTreeSet};

use bpf_lab::{
    Link, Object, Program, frames, helpers,
    insn::{call, op},
    isa,
};
use bytecode_suite::fixtures::KERNELS;
use synscope_ebpf::{
    OBJECT,
    record::{self, Attempt, Code, CodeScratch, Counters, FilterId, PORT_WORDS, Stack, USER_FRAMES},
};
use synscope_tracer::{Hook, PROBES};

/// The oldest kernel that takes the object.
const OLDEST: (u8, u8) = (5, 10);

fn object() -> Object {
    Object::parse(OBJECT).unwrap()
}

fn ceilings() -> toml::Table {
    include_str!("ceilings.toml").parse().unwrap()
}

fn names(value: &toml::Value) -> BTreeSet<&str> {
    value.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// Calls of helpers, by program.
fn called_helpers(program: &Program) -> BTreeSet<i32> {
    let calls = program.insns.iter().filter(|insn| insn.op == op::CALL && insn.src == call::HELPER);
    calls.map(|insn| insn.imm).collect()
}

#[test]
fn sections_are_programs_and_what_belongs_to_them() {
    let expected: Vec<String> = PROBES
        .iter()
        .map(|probe| match probe.hook {
            Hook::Raw(tracepoint) => format!("raw_tp/{tracepoint}"),
            Hook::SyscallExit(syscall) => format!("tracepoint/syscalls/sys_exit_{syscall}"),
        })
        .collect();
    let object = object();
    let mut found: Vec<&str> = object.programs.iter().map(|program| program.section.as_str()).collect();
    found.sort_unstable();
    let mut sorted: Vec<&str> = expected.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    assert_eq!(found, sorted, "programs and the tracer's probes");

    let known = [".strtab", ".text", ".rodata", "license", "maps", ".BTF", ".BTF.ext", ".symtab"];
    let is_known = |section: &str| {
        let bare = section.strip_prefix(".rel").unwrap_or(section);
        known.contains(&bare) || sorted.contains(&bare)
    };
    let unknown: Vec<&String> = object.sections.iter().filter(|section| !is_known(section)).collect();
    assert!(unknown.is_empty(), "writable data, debug information or worse: {unknown:?}");
}

#[test]
fn programs_bear_the_names_by_which_the_tracer_loads_them() {
    for probe in PROBES {
        assert!(object().program(probe.program).is_some(), "{}", probe.program);
    }
}

#[test]
fn the_licence_opens_the_helpers_that_read_kernel_memory() {
    assert_eq!(object().license, ceilings()["license"].as_str().unwrap());
    // license_is_gpl_compatible; 5.10, include/linux/license.h
    assert!(["GPL", "GPL v2", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"].contains(&&*object().license));
}

/// `enum bpf_map_type`
mod kind {
    pub(crate) const HASH: u32 = 1;
    pub(crate) const ARRAY: u32 = 2;
    pub(crate) const PER_CPU_ARRAY: u32 = 6;
    pub(crate) const LRU_HASH: u32 = 9;
    pub(crate) const LPM_TRIE: u32 = 11;
    pub(crate) const RINGBUF: u32 = 27;
}

/// Name, type, bytes of key and value, entries, flags.
type MapShape = (&'static str, u32, usize, usize, u32, u32);

const MAPS: &[MapShape] = &[
    ("ATTEMPTS", kind::HASH, size_of::<u64>(), size_of::<Attempt>(), 16_384, 0),
    ("AWAKE_UNTIL", kind::ARRAY, size_of::<u32>(), size_of::<u64>(), 1, 0),
    ("CODE", kind::LRU_HASH, size_of::<record::Program>(), size_of::<Code>(), 1024, 0),
    ("CODE_SCRATCH", kind::PER_CPU_ARRAY, size_of::<u32>(), size_of::<CodeScratch>(), 1, 0),
    ("COUNTERS", kind::PER_CPU_ARRAY, size_of::<u32>(), size_of::<Counters>(), 1, 0),
    ("ENDED", kind::LRU_HASH, size_of::<u64>(), size_of::<u8>(), 1024, 0),
    ("EVENTS", kind::RINGBUF, 0, 0, 4 << 20, 0),
    ("FILTER_COMMS", kind::HASH, 16, size_of::<u8>(), 64, 0),
    ("FILTER_IDS", kind::HASH, size_of::<FilterId>(), size_of::<u8>(), 1024, 0),
    // A prefix length before the address; a trie cannot be allocated in advance.
    ("FILTER_PEERS", kind::LPM_TRIE, 4 + 16, size_of::<u8>(), 1024, 1),
    ("FILTER_PORTS", kind::ARRAY, size_of::<u32>(), size_of::<u64>(), 2 * PORT_WORDS, 0),
    ("STACK_SCRATCH", kind::PER_CPU_ARRAY, size_of::<u32>(), size_of::<Stack<USER_FRAMES>>(), 1, 0),
    ("USER_STACKS", kind::HASH, size_of::<u64>(), size_of::<Stack<USER_FRAMES>>(), 16_384, 0),
];

#[test]
fn maps_hold_what_the_rust_types_say() {
    let object = object();
    let mut found: Vec<MapShape> = object
        .maps
        .iter()
        .map(|map| {
            assert!(!map.is_pinned, "{} would outlive the trace", map.name);
            let name =
                MAPS.iter().find(|known| known.0 == map.name).map_or("a map that is not listed", |it| it.0);
            let (key, value) = (map.key_size as usize, map.value_size as usize);
            (name, map.kind, key, value, map.max_entries, map.flags)
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, MAPS);
}

#[test]
fn instructions_are_such_as_5_10_takes() {
    for program in object().programs {
        if let Some((slot, reason)) = isa::refuse_program(&program.insns) {
            panic!("{} at {slot} (`{}`): {reason}", program.name, program.insns[slot]);
        }
    }
}

#[test]
fn helpers_are_on_the_list_and_in_5_10() {
    let ceilings = ceilings();
    let allowed = names(&ceilings["helpers"]);
    let newer = ceilings["newer_helpers"].as_table().unwrap();
    let mut called = BTreeSet::new();
    for program in object().programs {
        for number in called_helpers(&program) {
            let helper =
                helpers::by_number(number).unwrap_or_else(|| panic!("{} calls {number}", program.name));
            called.insert(helper.name);
            if helper.since > OLDEST {
                let guarded = newer.get(helper.name).map(names).unwrap_or_default();
                assert!(
                    guarded.contains(&*program.name),
                    "{} calls {} of {:?}",
                    program.name,
                    helper.name,
                    helper.since
                );
            } else {
                assert!(allowed.contains(helper.name), "{} calls {}", program.name, helper.name);
            }
        }
    }
    let listed: BTreeSet<&str> = allowed.into_iter().chain(newer.keys().map(String::as_str)).collect();
    assert_eq!(listed, called, "helpers on the list that nobody calls");
}

#[test]
fn programs_stay_below_their_ceilings() {
    let ceilings = ceilings();
    let ceilings = ceilings["programs"].as_table().unwrap();
    let object = object();
    for program in &object.programs {
        let ceiling =
            ceilings.get(&program.name).unwrap_or_else(|| panic!("{} has no ceiling", program.name));
        let most = usize::try_from(ceiling["instructions"].as_integer().unwrap()).unwrap();
        let count = program.insns.len();
        assert!(count <= most, "{} has {count} instructions, its ceiling is {most}", program.name);
        let calls: BTreeSet<&str> = program.functions[1..].iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(calls, names(&ceiling["calls"]), "functions that {} calls", program.name);
        let stack = frames::depth(program).unwrap_or_else(|| panic!("{} recurses", program.name));
        assert!(stack <= frames::LIMIT, "{} takes {stack} bytes of stack", program.name);
    }
    let stale: Vec<&String> = ceilings.keys().filter(|name| object.program(name).is_none()).collect();
    assert!(stale.is_empty(), "ceilings of what is no program: {stale:?}");
}

#[test]
fn offsets_come_as_globals_and_not_as_relocations() {
    let object = object();
    // .BTF.ext: magic, version, flags, header length, then three pairs of offset and length; the third pair is
    // that of CO-RE relocations.
    let extension = section(".BTF.ext");
    let word = |at: usize| u32::from_le_bytes(extension[at..at + 4].try_into().unwrap());
    assert!(word(4) < 32 || word(28) == 0, "CO-RE relocations");
    for program in &object.programs {
        for (slot, link) in &program.links {
            match link {
                Link::Map(name) => assert!(object.map(name).is_some(), "{} at {slot}: {name}", program.name),
                Link::Data { section, .. } => assert_eq!(section, ".rodata", "{} at {slot}", program.name),
            }
        }
    }
}

fn section(name: &str) -> Vec<u8> {
    bpf_lab::section(OBJECT, name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn every_global_of_a_kernel_is_one_of_the_object_and_the_other_way_round() {
    let object = object();
    let of_trace = ["FILTERS", "SLOW_NS", "STACKS", "STARTS"];
    let set: BTreeSet<&str> = KERNELS
        .iter()
        .flat_map(|kernel| kernel.globals().keys().map(String::as_str))
        .chain(of_trace)
        .collect();
    // The compiler names constants of its own with a dot, and SHAPES is there for its type.
    let is_set = |name: &&str| !name.contains('.') && *name != "SHAPES";
    let defined: BTreeSet<&str> =
        object.globals.iter().map(|global| global.name.as_str()).filter(is_set).collect();
    assert_eq!(set, defined);
    let sizes: BTreeMap<&str, usize> =
        object.globals.iter().map(|global| (&*global.name, global.size)).collect();
    assert!(set.iter().all(|&name| sizes[name] == if name == "SLOW_NS" { 8 } else { 4 }), "{sizes:?}");
}

/// Found by fuzzing: the address was added up without a look at its section.
#[test]
fn a_load_from_outside_its_section_is_refused() {
    let whole = object();
    let from_data = |program: &Program| {
        let slot = *program.links.iter().find(|(_, link)| matches!(link, Link::Data { .. }))?.0;
        program.file_offset(slot)
    };
    let at = whole.programs.iter().find_map(from_data).expect("some program reads a global");
    let mut broken = OBJECT.to_vec();
    broken[at + 4..at + 8].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = Object::parse(&broken).expect_err("an address outside .rodata was taken");
    assert!(error.to_string().contains("outside its section"), "{error}");
}
