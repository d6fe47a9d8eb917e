//! `tcp_receive_reset(sk)`: in SYN_SENT, the peer refused.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use synscope_ebpf::record::evidence;

use crate::{attempt, preemption};

#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
fn receive_reset(ctx: RawTracePointContext) -> i32 {
    preemption::without(|| {
        if let Some(attempt) = attempt::find(ctx.arg(0)) {
            attempt.evidence |= evidence::RESET;
        }
    });
    0
}
