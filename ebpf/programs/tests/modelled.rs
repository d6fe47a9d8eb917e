//! Layer 3: the instructions of the shipped object, executed in user space on sockets of real kernels'
//! layout. Every case must come out as the reference says, and as the case itself says.

use bpf_lab::{Coverage, Object};
use bytecode_suite::{
    case::{Case, Told},
    cases,
    fixtures::{KERNELS, Kernel},
    modelled,
    reference::Reference,
};
use synscope_ebpf::OBJECT;

/// Plays a case on a kernel; the first thing that is wrong, in words.
fn judge(kernel: &Kernel, object: &Object, case: &Case, coverage: &mut Coverage) -> Result<(), String> {
    let expected = Reference::play(kernel, case);
    if let Some(told) = case.told.as_ref().filter(|_| case.holds_on(kernel)) {
        let reference: Vec<Told> = expected.sent.iter().map(|sent| (&sent.record).into()).collect();
        if reference != *told {
            return Err(format!("the reference tells\n  {reference:?}\nand the case expects\n  {told:?}"));
        }
    }
    if case.counted.is_some_and(|counted| case.holds_on(kernel) && !counted(&expected.counters)) {
        return Err(format!("the reference counts {:?}", expected.counters));
    }
    let (outcome, reached) = modelled::play(kernel, object, case);
    coverage.merge(&reached);
    match outcome.map_err(|broken| broken.to_string())?.difference(&expected) {
        Some(difference) => Err(difference),
        None => Ok(()),
    }
}

#[test]
fn every_case_comes_out_as_expected_on_every_kernel() {
    let object = Object::parse(OBJECT).unwrap();
    let mut coverage = Coverage::default();
    let mut wrong = Vec::new();
    for case in cases::all() {
        for kernel in KERNELS.iter() {
            if let Err(reason) = judge(kernel, &object, &case, &mut coverage) {
                wrong.push(format!("{} on {}: {reason}", case.name, kernel.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of the cases:\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n\n"));
}
