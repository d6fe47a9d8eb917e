//! Bytes from the ring buffer: whatever they are, decoding them ends with an event or without one.
#![no_main]

// The decoder is the tracer's own business; these are its sources.
#[allow(dead_code, reason = "names and numbers of causes are not asked for here")]
#[path = "../../tracer/src/cause.rs"]
mod cause;
#[allow(dead_code, reason = "a trace follows the clock, a record does not")]
#[path = "../../tracer/src/clock.rs"]
mod clock;
#[allow(dead_code, reason = "nobody asks what the code is")]
#[path = "../../tracer/src/code.rs"]
mod code;
#[allow(dead_code, reason = "nobody looks at the events")]
#[path = "../../tracer/src/event.rs"]
mod event;
#[path = "../../tracer/src/recent.rs"]
mod recent;

use std::sync::LazyLock;

use clock::Clock;
use code::Codes;
use libfuzzer_sys::fuzz_target;
use zerocopy as _;

static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::new);

fuzz_target!(|data: &[u8]| {
    // Records lie at multiples of eight in the ring.
    let mut aligned: Vec<u64> = vec![0; data.len().div_ceil(8)];
    for (word, bytes) in aligned.iter_mut().zip(data.chunks(8)) {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_le_bytes(padded);
    }
    let bytes = zerocopy::IntoBytes::as_bytes(aligned.as_slice());
    let mut codes = Codes::new();
    if codes.learn(&bytes[..data.len()]) {
        return;
    }
    if let Some(event) = event::decode(&bytes[..data.len()], *CLOCK, &mut codes) {
        assert!(event.owner.is_none_or(|owner| owner.comm().chars().count() <= 16));
        let frames = event.stacks.map_or(0, |stacks| stacks.user.len() + stacks.kernel.len());
        assert!(frames <= 64 + 48, "{frames} frames");
    }
});
