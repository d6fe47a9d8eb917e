//! `inet_sock_set_state(sk, old, new)`: where an attempt starts and where it ends.

use aya_ebpf::{
    Global, helpers::generated::bpf_get_current_task, macros::raw_tracepoint, programs::RawTracePointContext,
};
use synscope_ebpf::record::{Attempt, Counters, DURATION_BUCKETS, evidence, kind};

use crate::{
    attempt,
    counters::{self, counters},
    filter, icmp,
    kernel::{self, Fault, state},
    preemption,
    tell::{News, UserStack, describe, now, send},
};

/// Attempts that establish within this many nanoseconds, without a retransmit, are not told.
#[unsafe(no_mangle)]
static SLOW_NS: Global<u64> = Global::new(1_000_000_000);

/// 1 when every start and every end is to be told.
#[unsafe(no_mangle)]
static STARTS: Global<u32> = Global::new(0);

// Errors that connect() returns after a SYN only.
const ECONNREFUSED: i32 = 111;
const ETIMEDOUT: i32 = 110;

/// The task is going away (include/linux/sched.h).
const PF_EXITING: u32 = 0x4;

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn set_state(ctx: RawTracePointContext) -> i32 {
    let (old, new) = (ctx.arg::<u64>(1), ctx.arg::<u64>(2));
    // Every state change of every TCP socket comes here; all but two kinds leave at once.
    if old == state::SYN_SENT || old == state::CLOSE && new == state::SYN_SENT {
        preemption::without(|| counters::note(change(&ctx, ctx.arg(0), old, new)));
    }
    0
}

/// Start or end of an attempt. What tells of both is here once: the longer a program, the longer it takes to load.
#[inline(always)]
fn change(ctx: &RawTracePointContext, sock: u64, old: u64, new: u64) -> Result<(), Fault> {
    let is_end = old == state::SYN_SENT;
    let mut started;
    let (attempt, news) = if is_end {
        let Some(attempt) = attempt::find(sock) else { return Ok(()) };
        let news =
            if new == state::CLOSE { failed(sock, attempt).map(Some) } else { Ok(established(attempt)) };
        (attempt, news)
    } else {
        if !kernel::is_tcp(sock)? {
            return Ok(());
        }
        started = attempt::of_current_task(now());
        let news = start(ctx, sock, &mut started);
        (&mut started, news)
    };
    let told = news.and_then(|news| news.map_or(Ok(()), |news| tell_change(ctx, sock, attempt, &news)));
    if is_end {
        // The entry goes, whether telling works or not.
        attempt::end(sock);
    }
    told
}

/// CLOSE → SYN_SENT, in the caller's context.
#[inline(always)]
fn start(ctx: &RawTracePointContext, sock: u64, attempt: &mut Attempt) -> Result<Option<News>, Fault> {
    if !filter::passes_at_start(sock, attempt, None)? {
        attempt::forget_missed(sock);
        return Ok(None);
    }
    let is_told = attempt::begin(ctx, sock, attempt) && STARTS.load() != 0;
    Ok(is_told.then_some(News { kind: kind::START, time_ns: attempt.start_ns, error: None, exit_code: 0 }))
}

/// SYN_SENT → CLOSE.
#[inline(always)]
fn failed(sock: u64, attempt: &mut Attempt) -> Result<News, Fault> {
    if let Some(counters) = counters() {
        counters::count_shared(&mut counters.failed);
    }
    let exit_code = exit_code_of_current()?;
    if exit_code.is_some() {
        attempt.evidence |= evidence::EXITING;
    }
    // The timer clears this before it gives up (tcp_write_timer_handler; 5.10 and 6.18, net/ipv4/tcp_timer.c);
    // tcp_done clears it only after the state change.
    if kernel::read::<u8>(sock, &kernel::OFF_PENDING)? != 0 {
        attempt.evidence |= evidence::RETRY_DUE;
    }
    Ok(News { exit_code: exit_code.unwrap_or(0), ..News::now(kind::FAILED) })
}

#[inline(always)]
fn tell_change(ctx: &RawTracePointContext, sock: u64, attempt: &Attempt, news: &News) -> Result<(), Fault> {
    let mut record = describe(sock, attempt, news)?;
    if news.kind == kind::FAILED {
        if is_returned(record.error, record.local_port) {
            attempt::note_end(sock);
        }
        if attempt.evidence & evidence::RESET == 0 {
            record.icmp = icmp::newest(sock)?;
        }
    }
    send(ctx, &record, UserStack::Kept(sock));
    Ok(())
}

/// True when a connect() that still waits returns an error that it could also return before a SYN: the network's, or
/// that no port was free (0). An application that closes the socket is not waiting.
#[inline(always)]
fn is_returned(error: i32, local_port: u16) -> bool {
    local_port == 0 || !matches!(error, 0 | ECONNREFUSED | ETIMEDOUT)
}

/// `exit_code` of the current task if it is exiting. In a softirq that task has nothing to do with the
/// attempt, but then `sk_err` says why it ended, and user space looks there first.
#[inline(always)]
fn exit_code_of_current() -> Result<Option<i32>, Fault> {
    // SAFETY: the helper takes nothing.
    let task = unsafe { bpf_get_current_task() };
    if kernel::read::<u32>(task, &kernel::OFF_TASK_FLAGS)? & PF_EXITING == 0 {
        return Ok(None);
    }
    kernel::read::<i32>(task, &kernel::OFF_TASK_EXIT_CODE).map(Some)
}

/// SYN_SENT → anything else.
#[inline(always)]
fn established(attempt: &Attempt) -> Option<News> {
    let time_ns = now();
    let duration_ns = time_ns - attempt.start_ns;
    let quiet = duration_ns < SLOW_NS.load()
        && attempt.retransmits == 0
        && attempt.challenges == 0
        && STARTS.load() == 0;
    if let Some(counters) = counters() {
        count_established(counters, duration_ns, quiet);
    }
    (!quiet).then_some(News { kind: kind::ESTABLISHED, time_ns, error: None, exit_code: 0 })
}

#[inline(always)]
fn count_established(counters: &mut Counters, duration_ns: u64, quiet: bool) {
    counters.established += 1;
    counters.quiet += u64::from(quiet);
    let bucket = log2(duration_ns / 1000);
    if bucket < DURATION_BUCKETS as u64 {
        counters.durations[bucket as usize] += 1;
    } else {
        counters.durations[DURATION_BUCKETS - 1] += 1;
    }
}

/// Position of the highest bit, by halving: BPF has no instruction for it.
#[inline(always)]
fn log2(value: u64) -> u64 {
    let mut value = value;
    let mut log = 0;
    let mut step = 32;
    while step > 0 {
        if value >> step != 0 {
            value >>= step;
            log += step;
        }
        step /= 2;
    }
    log
}
