//! What a client may send over a WebSocket, where it has nothing to say.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| synscope::fuzzing::websocket(bytes));
