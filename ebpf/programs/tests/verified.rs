//! Layer 2: the programs verified without a kernel, by PREVAIL, and planted faults that it must find, so that
//! a pass means something.

use bpf_lab::{Insn, MapDef, asm, elf};
use bytecode_suite::verifier::verify;
use synscope_ebpf::{OBJECT, record::RecordWithStacks};

/// What PREVAIL cannot prove, by program, and why it is right all the same.
const UNPROVEN: &[(&str, &str, &str)] = &[
    (
        "set_state",
        "Upper bound must be at most r0.shared_region_size (valid_access(r0.offset+80, width=8) for read)",
        "the bucket of a duration: the compiler compares the upper part of the sum with the bound, and PREVAIL \
         does not know that the lower bits are missing in it; the kernel follows every path and knows",
    ),
    (
        "connect_exit",
        "Loop counter is too large",
        "the walk from an executable to the root: the compiler counts the steps down, in the lower half of a word \
         on the stack, and PREVAIL loses the number; the kernel takes every step",
    ),
];

#[test]
fn prevail_proves_every_program() {
    let mut known = UNPROVEN.to_vec();
    for verdict in verify(OBJECT, size_of::<RecordWithStacks>()) {
        for complaint in &verdict.complaints {
            let at = known
                .iter()
                .position(|(program, what, _)| *program == verdict.program && complaint.contains(what));
            let at = at.unwrap_or_else(|| panic!("{}: {complaint}", verdict.program));
            known.remove(at);
        }
    }
    assert!(known.is_empty(), "PREVAIL proves it now, strike it off: {known:?}");
}

fn counters() -> MapDef {
    let name = "COUNTERS".into();
    MapDef { name, kind: 2, key_size: 4, value_size: 16, max_entries: 1, flags: 0, is_pinned: false }
}

/// Looks a counter up; what follows has its address, or 0, in r0.
fn lookup() -> Vec<Insn> {
    let key = [asm::store_imm(10, -4, 0), asm::copy(2, 10), asm::add(2, -4)];
    [key.as_slice(), &asm::map(1), &[asm::helper(1)]].concat()
}

fn complaints(insns: &[Insn]) -> Vec<String> {
    let object = elf::write("raw_tp/planted", insns, &[counters()], &["COUNTERS"]);
    verify(&object, 0).into_iter().flat_map(|verdict| verdict.complaints).collect()
}

/// A program that does as told with a counter whose address was checked.
fn with_counter(body: &[Insn]) -> Vec<Insn> {
    let checked = [asm::jump_eq(0, 0, i16::try_from(body.len()).unwrap())];
    [lookup(), checked.to_vec(), body.to_vec(), vec![asm::mov(0, 0), asm::exit()]].concat()
}

#[test]
fn a_sound_program_passes_so_that_the_planted_ones_fail_for_their_fault() {
    let sound = with_counter(&[asm::load(1, 0, 8), asm::add(1, 1), asm::store(0, 8, 1)]);
    assert_eq!(complaints(&sound), Vec::<String>::new());
}

#[track_caller]
fn assert_found(insns: &[Insn], why: &str) {
    let complaints = complaints(insns);
    assert!(complaints.iter().any(|complaint| complaint.contains(why)), "{complaints:?}");
}

#[test]
fn an_access_beyond_a_value_is_found() {
    assert_found(&with_counter(&[asm::load(1, 0, 16)]), "Upper bound");
    assert_found(&with_counter(&[asm::load(1, 0, -1)]), "Lower bound");
}

#[test]
fn a_missing_null_check_is_found() {
    let unchecked = [lookup(), vec![asm::load(1, 0, 0), asm::mov(0, 0), asm::exit()]].concat();
    assert_found(&unchecked, "null");
}

#[test]
fn a_loop_without_a_bound_is_found() {
    let endless = [asm::load(1, 1, 0), asm::add(1, 1), asm::jump_ne(1, 0, -2), asm::mov(0, 0), asm::exit()];
    assert_found(&endless, "Loop counter is too large");
}

#[test]
fn an_address_that_leaks_is_found() {
    assert_found(&[asm::copy(0, 10), asm::exit()], "r0.type == number");
}

#[test]
fn stack_that_does_not_exist_or_was_not_written_is_found() {
    assert_found(&[asm::store_imm(10, -520, 0), asm::mov(0, 0), asm::exit()], "Lower bound");
    assert_found(&[asm::load(0, 10, -8), asm::exit()], "r0.type == number");
}
