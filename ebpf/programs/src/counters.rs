//! The programs' counters: one value per processor, so that adding needs no atomics.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use synscope_ebpf::record::Counters;

use crate::kernel::Fault;

#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// This processor's counters. They always exist; the verifier wants the check all the same.
#[inline(always)]
pub(crate) fn counters() -> Option<&'static mut Counters> {
    // SAFETY: the value belongs to this processor, and a tracing program does not nest in itself.
    COUNTERS.get_ptr_mut(0).map(|counters| unsafe { &mut *counters })
}

/// Counts an event that was given up because kernel memory could not be read.
#[inline(always)]
pub(crate) fn note(done: Result<(), Fault>) {
    if done.is_err()
        && let Some(counters) = counters()
    {
        counters.faults += 1;
    }
}
