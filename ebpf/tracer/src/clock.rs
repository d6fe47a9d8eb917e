//! From the kernel's boot-time clock to wall time.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds that wall time is ahead of the boot-time clock. Events of one attempt must agree on its start,
/// so the offset moves only when the wall clock was stepped or has drifted visibly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    ahead_ns: i64,
}

/// Below this a difference is reading noise and slewing, not a step.
const TOLERANCE_NS: u64 = 1_000_000;

impl Clock {
    pub(crate) fn new() -> Self {
        Self { ahead_ns: measure() }
    }

    /// Follows a stepped wall clock. Called once a batch.
    pub(crate) fn refresh(&mut self) {
        let measured = measure();
        if measured.abs_diff(self.ahead_ns) > TOLERANCE_NS {
            self.ahead_ns = measured;
        }
    }

    /// The boot-time clock now, as the programs read it.
    pub(crate) fn boot_ns() -> u64 {
        read(ClockId::CLOCK_BOOTTIME).unsigned_abs()
    }

    /// Nanoseconds since 1970.
    pub(crate) fn unix_ns(self, boot_ns: u64) -> u64 {
        boot_ns.saturating_add_signed(self.ahead_ns)
    }
}

fn read(clock: ClockId) -> i64 {
    // Both clocks exist on every kernel that has BPF ring buffers.
    let now = clock_gettime(clock).expect("the clock exists");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}

fn measure() -> i64 {
    read(ClockId::CLOCK_REALTIME) - read(ClockId::CLOCK_BOOTTIME)
}
