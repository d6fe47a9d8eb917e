//! `tcp_retransmit_skb(sk, skb [, err since 6.17])`: a SYN is sent again.

use aya_ebpf::{Global, macros::raw_tracepoint, programs::RawTracePointContext};
use synscope_ebpf::record::kind;

use crate::{
    attempt, counters,
    kernel::Fault,
    preemption,
    tell::{News, tell},
};

/// 1 when the tracepoint carries `err`: since 6.17 it also fires for what could not be sent.
#[unsafe(no_mangle)]
static RETRANSMIT_HAS_ERROR: Global<u32> = Global::new(0);

#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
fn retransmit(ctx: RawTracePointContext) -> i32 {
    preemption::without(|| counters::note(retransmitted(&ctx, ctx.arg(0))));
    0
}

/// The current task is whoever the timer interrupted; the owner is the one stored at connect().
#[inline(always)]
fn retransmitted(ctx: &RawTracePointContext, sock: u64) -> Result<(), Fault> {
    let Some(attempt) = attempt::find(sock) else { return Ok(()) };
    let error = if RETRANSMIT_HAS_ERROR.load() != 0 { ctx.arg::<u64>(2) as i32 } else { 0 };
    if error != 0 {
        // It never left the host: waiting in a neighbour's queue (EBUSY), or dropped by a local firewall.
        attempt.unsent = attempt.unsent.saturating_add(1);
        return Ok(());
    }
    attempt.retransmits = attempt.retransmits.saturating_add(1);
    tell(ctx, sock, attempt, &News::now(kind::RETRANSMIT))
}
