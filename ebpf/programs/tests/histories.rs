//! Layer 3: random histories come out as the reference says, on every kernel.

use bpf_lab::Object;
use bytecode_suite::{
    fixtures::{KERNELS, Kernel, STRETCHED},
    histories::history,
    modelled,
    reference::Reference,
};
use proptest::{
    prelude::{ProptestConfig, any},
    prop_assert, proptest,
    sample::Index,
};
use synscope_ebpf::OBJECT;

proptest! {
    // A failure prints its smallest history, which belongs among the cases then.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_possible_history_comes_out_as_the_reference_says(case in history(), kernel in any::<Index>()) {
        let kernels: Vec<&Kernel> = KERNELS.iter().chain([&*STRETCHED]).collect();
        let kernel = *kernel.get(&kernels);
        let object = Object::parse(OBJECT).unwrap();
        let (outcome, _) = modelled::play(kernel, &object, &case);
        let difference = match outcome {
            Ok(outcome) => outcome.difference(&Reference::play(kernel, &case)),
            Err(broken) => Some(broken.to_string()),
        };
        prop_assert!(difference.is_none(), "on {}: {}", kernel.name, difference.unwrap_or_default());
    }
}
