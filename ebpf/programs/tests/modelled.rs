//! Layer 3: the instructions of the shipped object, executed in user space on sockets of real kernels'
//! layout. Every case must come out as the reference says, and as the case itself says.

use std::sync::LazyLock;

use bpf_lab::{Coverage, Object};
use bytecode_suite::{
    case::{Case, Told},
    cases,
    fixtures::{KERNELS, Kernel},
    modelled,
    reference::Reference,
};
use synscope_ebpf::OBJECT;

/// All cases, played on all kernels.
struct Played {
    wrong: Vec<String>,
    coverage: Coverage,
}

static PLAYED: LazyLock<Played> = LazyLock::new(|| {
    let object = Object::parse(OBJECT).unwrap();
    let mut played = Played { wrong: Vec::new(), coverage: Coverage::default() };
    for case in cases::all() {
        for kernel in KERNELS.iter() {
            let (outcome, reached) = modelled::play(kernel, &object, &case);
            played.coverage.merge(&reached);
            let expected = Reference::play(kernel, &case);
            let difference = match outcome {
                Ok(outcome) => outcome.difference(&expected),
                Err(broken) => Some(broken.to_string()),
            };
            if let Some(difference) = difference {
                played.wrong.push(format!("{} on {}: {difference}", case.name, kernel.name));
            }
        }
    }
    played
});

#[test]
fn every_case_comes_out_as_the_reference_says_on_every_kernel() {
    let wrong = &PLAYED.wrong;
    assert!(wrong.is_empty(), "{} of the cases:\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n\n"));
}

/// What the case itself expects, beside the reference.
fn judge_reference(kernel: &Kernel, case: &Case) -> Result<(), String> {
    let outcome = Reference::play(kernel, case);
    let told: Vec<Told> = outcome.sent.iter().map(|sent| (&sent.record).into()).collect();
    if case.told.as_ref().is_some_and(|expected| *expected != told) {
        return Err(format!("told is\n  {told:?}\nand should be\n  {:?}", case.told));
    }
    if case.codes.is_some_and(|expected| expected != outcome.codes.len()) {
        return Err(format!("code was sent {} times", outcome.codes.len()));
    }
    if case.counted.is_some_and(|counted| !counted(&outcome.counters)) {
        return Err(format!("counted is {:?}", outcome.counters));
    }
    Ok(())
}

#[test]
fn the_reference_tells_what_the_cases_expect() {
    let cases = cases::all();
    for case in &cases {
        for kernel in KERNELS.iter().filter(|kernel| case.holds_on(kernel)) {
            if let Err(reason) = judge_reference(kernel, case) {
                panic!("{} on {}: {reason}", case.name, kernel.name);
            }
        }
        assert!(KERNELS.iter().any(|kernel| case.holds_on(kernel)), "{}: on no kernel", case.name);
    }
    let mut names: Vec<&str> = cases.iter().map(|case| &*case.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "two cases have one name");
}

/// Instructions that no case reaches: program, text of the instruction, why.
const UNREACHED: &[(&str, &str, &str)] = &[];

#[test]
fn every_instruction_is_reached_by_a_case_or_has_a_reason() {
    let object = Object::parse(OBJECT).unwrap();
    let mut reasons = UNREACHED.to_vec();
    let (mut reached, mut one_way, mut unexplained) = (0, 0, Vec::new());
    for program in &object.programs {
        for (slot, insn) in
            program.insns.iter().enumerate().filter(|(slot, _)| !program.is_second_half(*slot))
        {
            let (executed, taken) = PLAYED.coverage.branch(&program.name, slot);
            if executed > 0 {
                reached += 1;
                one_way += usize::from(insn.is_branch() && [0, executed].contains(&taken));
                continue;
            }
            let text = insn.to_string();
            match reasons.iter().position(|(name, what, _)| (*name, *what) == (&*program.name, &*text)) {
                Some(known) => drop(reasons.remove(known)),
                None => unexplained.push(format!("{} at {slot}: {text}", program.name)),
            }
        }
    }
    println!(
        "{reached} instructions reached, {} not, {one_way} branches went one way only",
        unexplained.len()
    );
    assert!(unexplained.is_empty(), "no case reaches:\n{}", unexplained.join("\n"));
    assert!(reasons.is_empty(), "reached after all, strike off: {reasons:?}");
}
