//! The attempts under way: one entry per socket in SYN_SENT, from connect() to the outcome.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::{
    Global,
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        generated::{
            bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_smp_processor_id, bpf_get_stack,
        },
    },
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray},
    programs::RawTracePointContext,
};
use synscope_ebpf::record::{Attempt, Counters, Stack, USER_FRAMES};

use crate::{code, counters::counters};

/// Attempts under way, by address of their `struct sock`. When it is full, `untracked` counts.
#[map]
static ATTEMPTS: HashMap<u64, Attempt> = HashMap::with_max_entries(16_384, 0);

/// The callers' stacks, beside `ATTEMPTS`, filled only when the trace wants stacks.
#[map]
static USER_STACKS: HashMap<u64, Stack<USER_FRAMES>> = HashMap::with_max_entries(16_384, 0);

/// Where a user stack is built: it does not fit the 512 bytes that a program has.
#[map]
static STACK_SCRATCH: PerCpuArray<Stack<USER_FRAMES>> = PerCpuArray::with_max_entries(1, 0);

/// 1 when the trace wants stacks.
#[unsafe(no_mangle)]
static STACKS: Global<u32> = Global::new(0);

const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;
/// Flag of `bpf_get_stack`.
pub(crate) const BPF_F_USER_STACK: u64 = 1 << 8;

/// True when the trace wants stacks.
#[inline(always)]
pub(crate) fn wants_stacks() -> bool {
    STACKS.load() != 0
}

/// An attempt of nobody, for what the passive side tells.
pub(crate) const NOBODY: Attempt = Attempt {
    id: 0,
    start_ns: 0,
    cgroup: 0,
    mm: 0,
    tgid: 0,
    tid: 0,
    uid: 0,
    reported_soft_error: 0,
    comm: [0; 16],
    retransmits: 0,
    unsent: 0,
    challenges: 0,
    evidence: 0,
};

/// An attempt that starts now, owned by the current task.
#[inline(always)]
pub(crate) fn of_current_task(now: u64) -> Attempt {
    let pid_tgid = bpf_get_current_pid_tgid();
    let mut attempt = Attempt {
        start_ns: now,
        // SAFETY: the helper takes nothing and reads only the current task.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        tgid: (pid_tgid >> 32) as u32,
        tid: pid_tgid as u32,
        uid: bpf_get_current_uid_gid() as u32,
        ..NOBODY
    };
    // In its place at once: from elsewhere the compiler would copy it byte by byte.
    // SAFETY: the helper fills as many bytes as it is told, or clears them.
    unsafe { bpf_get_current_comm(attempt.comm.as_mut_ptr().cast(), size_of_val(&attempt.comm) as u32) };
    attempt
}

/// Gives an attempt its number, and counts it.
#[inline(always)]
pub(crate) fn number(attempt: &mut Attempt, counters: &mut Counters) {
    counters.started += 1;
    // SAFETY: the helper takes nothing.
    let processor = u64::from(unsafe { bpf_get_smp_processor_id() });
    attempt.id = processor << 40 | counters.started;
}

/// Numbers an attempt and stores it. False when there is no room.
#[inline(always)]
pub(crate) fn begin(ctx: &RawTracePointContext, sock: u64, attempt: &mut Attempt) -> bool {
    let Some(counters) = counters() else { return false };
    number(attempt, counters);
    attempt.mm = code::of_current_task();
    if ATTEMPTS.insert(&sock, &*attempt, BPF_NOEXIST).is_err() {
        // Either full, or the end of the socket's last attempt was missed: then this one takes its place.
        if ATTEMPTS.remove(&sock).is_err() || ATTEMPTS.insert(&sock, &*attempt, BPF_ANY).is_err() {
            counters.untracked += 1;
            return false;
        }
        counters.replaced += 1;
    }
    if wants_stacks() {
        keep_user_stack(ctx, sock);
        code::keep(ctx, attempt);
    }
    true
}

/// Stores the caller's stack beside the attempt. An attempt without one is told without one.
#[inline(always)]
fn keep_user_stack(ctx: &RawTracePointContext, sock: u64) {
    let Some(scratch) = STACK_SCRATCH.get_ptr_mut(0) else { return };
    // SAFETY: the scratch space is this processor's own, and as large as the helper is told.
    unsafe {
        let frames = (&raw mut (*scratch).frames).cast();
        let size = size_of::<[u64; USER_FRAMES]>() as u32;
        (*scratch).length = bpf_get_stack(ctx.as_ptr(), frames, size, BPF_F_USER_STACK);
        let _ = USER_STACKS.insert(&sock, &*scratch, BPF_ANY);
    }
}

/// The attempt of a socket, if one is under way. Sockets in any other state have none, so that finding one
/// proves SYN_SENT.
#[inline(always)]
pub(crate) fn find(sock: u64) -> Option<&'static mut Attempt> {
    // SAFETY: entries are preallocated and only ever reused, never unmapped; the socket's lock orders its
    // own events, and a torn count after reuse is worth less than a lock.
    ATTEMPTS.get_ptr_mut(&sock).map(|attempt| unsafe { &mut *attempt })
}

/// Attempts that ended within a connect() that still has to return, by socket: what it returns was told. Only
/// errors that connect() may also return before SYN_SENT are kept, so that a storm of refusals costs nothing.
#[map]
static ENDED: LruHashMap<u64, u8> = LruHashMap::with_max_entries(1024, 0);

/// Notes that the end of the socket's attempt was told.
#[inline(always)]
pub(crate) fn note_end(sock: u64) {
    let _ = ENDED.insert(&sock, &1, BPF_ANY);
}

/// True when the end of the socket's attempt was told already; asks once.
#[inline(always)]
pub(crate) fn take_end(sock: u64) -> bool {
    ENDED.remove(&sock).is_ok()
}

/// The stack that the caller of the attempt had.
#[inline(always)]
pub(crate) fn user_stack(sock: u64) -> Option<*const Stack<USER_FRAMES>> {
    USER_STACKS.get_ptr(&sock)
}

/// Forgets an attempt whose end was missed, now that its socket starts one that is not followed: the entry must
/// not speak for that one.
#[inline(always)]
pub(crate) fn forget_missed(sock: u64) {
    if ATTEMPTS.remove(&sock).is_ok() {
        if wants_stacks() {
            let _ = USER_STACKS.remove(&sock);
        }
        if let Some(counters) = counters() {
            counters.replaced += 1;
        }
    }
}

/// Forgets the attempt of a socket.
#[inline(always)]
pub(crate) fn end(sock: u64) {
    let _ = ATTEMPTS.remove(&sock);
    if wants_stacks() {
        let _ = USER_STACKS.remove(&sock);
    }
}
