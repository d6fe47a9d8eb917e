//! `tcp_send_reset(sk, skb [, reason])`: in SYN_SENT, the peer answered our SYN with an ACK that belongs to
//! another connection. It still holds an old one on this four-tuple.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use synscope_ebpf::record::kind;

use crate::{
    attempt, counters,
    kernel::Fault,
    preemption,
    tell::{News, tell},
};

#[raw_tracepoint(tracepoint = "tcp_send_reset")]
fn challenge(ctx: RawTracePointContext) -> i32 {
    let sock = ctx.arg(0);
    // A reset on behalf of no socket: somebody is refused here.
    if sock != 0 {
        preemption::without(|| counters::note(challenged(&ctx, sock)));
    }
    0
}

#[inline(always)]
fn challenged(ctx: &RawTracePointContext, sock: u64) -> Result<(), Fault> {
    let Some(attempt) = attempt::find(sock) else { return Ok(()) };
    attempt.challenges = attempt.challenges.saturating_add(1);
    tell(ctx, sock, attempt, &News::now(kind::CHALLENGE))
}
