//! `inet_sk_error_report(sk)`, absent on 5.10: an ICMP error or a timeout reached the socket.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::{
    attempt, counters,
    kernel::{self, Fault},
    preemption,
};

#[raw_tracepoint(tracepoint = "inet_sk_error_report")]
fn error_report(ctx: RawTracePointContext) -> i32 {
    preemption::without(|| counters::note(reported(ctx.arg(0))));
    0
}

/// ICMP that arrives while the owner holds the socket sets only `sk_err_soft` (tcp_v4_err, 6.18), and reading
/// SO_ERROR consumes it before the socket closes: this is the only place that sees it.
#[inline(always)]
fn reported(sock: u64) -> Result<(), Fault> {
    let Some(attempt) = attempt::find(sock) else { return Ok(()) };
    let soft_error = kernel::read::<i32>(sock, &kernel::OFF_ERR_SOFT)?;
    if soft_error != 0 {
        attempt.reported_soft_error = soft_error;
    }
    Ok(())
}
