//! No other task in between.
//!
//! Up to 6.19 a tracepoint runs its programs with preemption disabled, and these rely on that: what belongs to the
//! processor (counters, room for stacks) has one owner at a time. From 7.0 on it does not (`__DECLARE_TRACE`,
//! include/linux/tracepoint.h), and from 7.1 on every kernel for x86 and arm64 preempts.

use aya_ebpf::{
    Global,
    helpers::generated::{bpf_get_numa_node_id, bpf_jiffies64},
};

/// 1 when the placeholders are replaced.
#[unsafe(no_mangle)]
static HAS_PREEMPT_DISABLE: Global<u32> = Global::new(0);

/// Runs it with preemption disabled, where the kernel lets programs do that.
///
/// The kernel's functions are no helpers, and have other numbers on each kernel. Two helpers that do nothing stand for
/// them (`synscope_ebpf::placeholder`), and the tracer puts the functions in their places.
#[inline(always)]
pub(crate) fn without(run: impl FnOnce()) {
    if HAS_PREEMPT_DISABLE.load() != 0 {
        // SAFETY: the helper takes nothing.
        unsafe { bpf_get_numa_node_id() };
    }
    run();
    if HAS_PREEMPT_DISABLE.load() != 0 {
        // SAFETY: the helper takes nothing.
        unsafe { bpf_jiffies64() };
    }
}
