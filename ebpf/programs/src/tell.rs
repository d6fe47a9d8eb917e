//! Sending a record to user space.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_stack, bpf_ktime_get_boot_ns, bpf_probe_read_kernel},
    macros::map,
    maps::{Array, RingBuf},
};
use synscope_ebpf::record::{
    Attempt, KERNEL_FRAMES, NO_ICMP, Record, RecordWithStacks, Stack, USER_FRAMES, WAKE_EVERY_NS, kind,
};

use crate::{
    attempt::{self, BPF_F_USER_STACK},
    code,
    counters::{self, counters},
    filter,
    kernel::{self, Fault},
};

/// The way to user space. User space sets its size; when it is full, `lost_ringbuf` counts.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Until when, in boot-time nanoseconds, the reader of `EVENTS` needs no waking, as it will look by itself: it says so
/// here, and so does whichever processor wakes it (`Tracer::read`).
#[map]
static AWAKE_UNTIL: Array<u64> = Array::with_max_entries(1, 0);

// Flags of bpf_ringbuf_output and bpf_ringbuf_submit.
pub(crate) const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;

/// Nanoseconds since boot, suspended time included.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// What an event adds to what the socket and the attempt already say.
pub(crate) struct News {
    pub(crate) kind: u8,
    pub(crate) time_ns: u64,
    /// Replaces `sk_err` in the record, where the hook itself carries an error.
    pub(crate) error: Option<i32>,
    pub(crate) exit_code: i32,
}

impl News {
    /// Something that happened now.
    #[inline(always)]
    pub(crate) fn now(kind: u8) -> Self {
        Self { kind, time_ns: now(), error: None, exit_code: 0 }
    }
}

/// Which user stack goes with a record.
#[derive(Clone, Copy)]
pub(crate) enum UserStack {
    /// The one that was kept when the socket's attempt started.
    Kept(u64),
    /// That of the current task.
    Current,
    /// There is none: nobody on this host asked.
    None,
}

/// Tells one event of an attempt under way.
#[inline(always)]
pub(crate) fn tell(ctx: &impl EbpfContext, sock: u64, attempt: &Attempt, news: &News) -> Result<(), Fault> {
    send(ctx, &describe(sock, attempt, news)?, UserStack::Kept(sock));
    Ok(())
}

/// A record of what the socket shows now.
#[inline(always)]
pub(crate) fn describe(sock: u64, attempt: &Attempt, news: &News) -> Result<Record, Fault> {
    let family = kernel::family(sock)?;
    let error = match news.error {
        Some(error) => error,
        None => kernel::read::<i32>(sock, &kernel::OFF_ERR)?,
    };
    Ok(Record {
        time_ns: news.time_ns,
        attempt: *attempt,
        local_addr: bytes(kernel::local_addr(sock, family)?),
        peer_addr: bytes(kernel::peer_addr(sock, family)?),
        local_port: kernel::local_port(sock)?,
        peer_port: kernel::peer_port(sock)?,
        netns: kernel::netns(sock)?,
        error,
        soft_error: kernel::read::<i32>(sock, &kernel::OFF_ERR_SOFT)?,
        exit_code: news.exit_code,
        kind: news.kind,
        padding: [0; 3],
        icmp: NO_ICMP,
    })
}

/// Sends a record, unless the local port's filter is against it.
#[inline(always)]
pub(crate) fn send(ctx: &impl EbpfContext, record: &Record, user: UserStack) {
    if !filter::passes_when_told(record.local_port) {
        return;
    }
    let Some(counters) = counters() else { return };
    if record.kind == kind::FAILED {
        code::send(&EVENTS, &record.attempt, counters);
    }
    counters::count_shared(&mut counters.produced);
    let sent = if attempt::wants_stacks() { send_with_stacks(ctx, record, user) } else { send_bare(record) };
    if !sent {
        counters::count_shared(&mut counters.lost_ringbuf);
    }
}

/// Whether a record wakes the reader: only when that will not look by itself soon. An interrupt to the own processor for
/// each record would cost more than all the rest.
#[inline(always)]
fn wake_up(time_ns: u64) -> u64 {
    let Some(awake_until) = AWAKE_UNTIL.get_ptr_mut(0) else { return BPF_RB_FORCE_WAKEUP };
    // SAFETY: the value is always there. Two processors that both find it past both wake the reader, which is once
    // too often and does no harm.
    unsafe {
        if time_ns < *awake_until {
            return BPF_RB_NO_WAKEUP;
        }
        *awake_until = time_ns + WAKE_EVERY_NS;
    }
    BPF_RB_FORCE_WAKEUP
}

/// The words of an address as they lie in memory.
#[inline(always)]
pub(crate) fn bytes(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: both are sixteen plain bytes.
    unsafe { core::mem::transmute(words) }
}

#[inline(always)]
fn send_bare(record: &Record) -> bool {
    let Some(mut entry) = EVENTS.reserve::<Record>(0) else { return false };
    entry.write(*record);
    entry.submit(wake_up(record.time_ns));
    true
}

/// Sends a record with both stacks, filled in place: 1 KiB fits no program's own stack.
#[inline(always)]
fn send_with_stacks(ctx: &impl EbpfContext, record: &Record, user: UserStack) -> bool {
    let Some(mut entry) = EVENTS.reserve::<RecordWithStacks>(0) else { return false };
    let out = entry.as_mut_ptr();
    // SAFETY: `out` is the reserved room for the whole structure, and each helper is told its part's size.
    unsafe {
        (*out).record = *record;
        let kernel = &raw mut (*out).kernel;
        let size = size_of::<[u64; KERNEL_FRAMES]>() as u32;
        (*kernel).length = bpf_get_stack(ctx.as_ptr(), (&raw mut (*kernel).frames).cast(), size, 0);
        fill_user_stack(ctx, &raw mut (*out).user, user);
    }
    entry.submit(wake_up(record.time_ns));
    true
}

/// # Safety
///
/// `out` must be room for a whole stack.
#[inline(always)]
unsafe fn fill_user_stack(ctx: &impl EbpfContext, out: *mut Stack<USER_FRAMES>, user: UserStack) {
    // SAFETY: as promised; each helper is told the size of what it fills.
    unsafe {
        (*out).length = 0;
        match user {
            UserStack::Kept(sock) => {
                if let Some(kept) = attempt::user_stack(sock) {
                    let size = size_of::<Stack<USER_FRAMES>>() as u32;
                    if bpf_probe_read_kernel(out.cast(), size, kept.cast()) != 0 {
                        (*out).length = 0;
                    }
                }
            }
            UserStack::Current => {
                let frames = (&raw mut (*out).frames).cast();
                let size = size_of::<[u64; USER_FRAMES]>() as u32;
                (*out).length = bpf_get_stack(ctx.as_ptr(), frames, size, BPF_F_USER_STACK);
            }
            UserStack::None => {}
        }
    }
}
