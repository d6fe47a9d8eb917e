//! Objects that nobody vouches for: taking them apart ends with programs or an error, and executing those ends.
//!
//! The tracer loads one object only, its own. aya's reader of objects is not asked: it panics on broken ones.
#![no_main]

use bpf_lab::{Machine, Object, Setup};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(object) = Object::parse(data) else { return };
    let Ok(mut machine) = Machine::load(&object, &Setup::default()) else { return };
    for program in &object.programs {
        let _ = machine.run(&program.name, &[0; 96]);
    }
});
