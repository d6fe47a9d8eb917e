//! What a client may send: whole requests and halves, bodies, cursors, files to import. Every connection ends.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    synscope::fuzzing::connection(bytes);
});
