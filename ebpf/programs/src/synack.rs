//! `tcp_retransmit_synack(sk, req)`: the passive side. A client's SYN came, our answer was not answered.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use synscope_ebpf::record::{Attempt, NO_ICMP, Record, kind};

use crate::{
    attempt, counters, filter,
    kernel::{self, Fault, Peer},
    preemption,
    tell::{UserStack, bytes, now, send},
};

#[raw_tracepoint(tracepoint = "tcp_retransmit_synack")]
fn synack(ctx: RawTracePointContext) -> i32 {
    preemption::without(|| counters::note(retransmitted(&ctx, ctx.arg(1))));
    0
}

/// A request socket starts with `sock_common`, like every socket, and has no owner yet.
#[inline(always)]
fn retransmitted(ctx: &RawTracePointContext, request: u64) -> Result<(), Fault> {
    let family = kernel::family(request)?;
    let client = Peer { addr: kernel::peer_addr(request, family)?, port: kernel::peer_port(request)? };
    if !filter::passes_without_owner(request, &client)? {
        return Ok(());
    }
    let time_ns = now();
    // The hook runs before the kernel counts (inet_rtx_syn_ack; 6.18, net/ipv4/inet_connection_sock.c).
    let before = kernel::read::<u8>(request, &kernel::OFF_REQ_RETRANS)?;
    let record = Record {
        time_ns,
        attempt: Attempt { start_ns: time_ns, retransmits: u16::from(before) + 1, ..attempt::NOBODY },
        local_addr: bytes(kernel::local_addr(request, family)?),
        peer_addr: bytes(client.addr),
        local_port: kernel::read::<u16>(request, &kernel::OFF_NUM)?,
        peer_port: client.port,
        netns: kernel::netns(request)?,
        error: 0,
        soft_error: 0,
        exit_code: 0,
        kind: kind::SYNACK_RETRANSMIT,
        padding: [0; 3],
        icmp: NO_ICMP,
    };
    send(ctx, &record, UserStack::None);
    Ok(())
}
