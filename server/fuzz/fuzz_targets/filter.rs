//! Texts of the filter language: understood or refused, and what was understood has a plain form that means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| synscope::fuzzing::filter(text));
