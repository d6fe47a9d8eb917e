//! The programs' counters: one value per processor. What only one program counts needs no atomics; where a softirq
//! may come between, `count_shared` does.

use core::arch::asm;

use aya_ebpf::{macros::map, maps::PerCpuArray};
use synscope_ebpf::record::Counters;

use crate::kernel::Fault;

#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// This processor's counters. They always exist; the verifier wants the check all the same.
#[inline(always)]
pub(crate) fn counters() -> Option<&'static mut Counters> {
    // SAFETY: the value belongs to this processor, and a tracing program does not nest in itself. Programs that
    // interrupt each other count with `count_shared`.
    COUNTERS.get_ptr_mut(0).map(|counters| unsafe { &mut *counters })
}

/// Adds one to a counter that another program on this processor may be adding to when it is interrupted.
#[inline(always)]
pub(crate) fn count_shared(counter: &mut u64) {
    // SAFETY: an atomic addition to a counter of which the reference is valid and aligned. `core` has none for this
    // target; and one that also returned the sum would need 5.12.
    unsafe { asm!("lock *(u64 *)({counter} + 0) += {one}", counter = in(reg) counter, one = in(reg) 1_u64) }
}

/// Counts an event that was given up because kernel memory could not be read.
#[inline(always)]
pub(crate) fn note(done: Result<(), Fault>) {
    if done.is_err()
        && let Some(counters) = counters()
    {
        count_shared(&mut counters.faults);
    }
}
