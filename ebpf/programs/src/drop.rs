//! `kfree_skb(skb, location [, reason since 6.1 at the latest])`: this host dropped a packet. Loaded only by a
//! trace that asks for drops.

use aya_ebpf::{Global, macros::raw_tracepoint, programs::RawTracePointContext};
use synscope_ebpf::record::{Attempt, NO_ICMP, Record, kind};

use crate::{
    attempt, counters, filter,
    kernel::{self, Fault, Peer},
    preemption,
    tell::{News, UserStack, bytes, now, send, tell},
};

/// 1 when the tracepoint says why.
#[unsafe(no_mangle)]
static DROP_HAS_REASON: Global<u32> = Global::new(0);

#[raw_tracepoint(tracepoint = "kfree_skb")]
fn drop(ctx: RawTracePointContext) -> i32 {
    preemption::without(|| counters::note(dropped(&ctx, ctx.arg(0))));
    0
}

#[inline(always)]
fn dropped(ctx: &RawTracePointContext, skb: u64) -> Result<(), Fault> {
    let reason = if DROP_HAS_REASON.load() != 0 { ctx.arg::<u64>(2) as i32 } else { 0 };
    let sock = kernel::read::<u64>(skb, &kernel::OFF_SKB_SK)?;
    match attempt::find(sock) {
        Some(attempt) => {
            let news = News { error: Some(reason), ..News::now(kind::DROP) };
            tell(ctx, sock, attempt, &news)
        }
        // On the receiving side, loopback included, the packet no longer knows who sent it.
        None => unowned(ctx, skb, reason),
    }
}

/// The parts of a TCP header that tell a SYN.
#[repr(C)]
#[derive(Clone, Copy)]
struct TcpHeader {
    source: [u8; 2],
    destination: [u8; 2],
    sequence: u32,
    acknowledgement: u32,
    offset: u8,
    flags: u8,
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const IPPROTO_TCP: u8 = 6;
/// `transport_header` before any layer has set it.
const UNSET: u16 = u16::MAX;

/// Tells of a dropped SYN whose socket is not known, by the addresses in the packet: user space finds the
/// attempt.
#[inline(always)]
fn unowned(ctx: &RawTracePointContext, skb: u64, reason: i32) -> Result<(), Fault> {
    let transport = kernel::read::<u16>(skb, &kernel::OFF_SKB_TRANSPORT_HEADER)?;
    if transport == UNSET {
        return Ok(());
    }
    let head = kernel::read::<u64>(skb, &kernel::OFF_SKB_HEAD)?;
    let network = head + u64::from(kernel::read::<u16>(skb, &kernel::OFF_SKB_NETWORK_HEADER)?);
    let Some((source, destination)) = tcp_addresses(network)? else { return Ok(()) };
    let tcp = kernel::read_at::<TcpHeader>(head + u64::from(transport))?;
    if tcp.flags & (SYN | ACK) != SYN {
        return Ok(());
    }
    let peer = Peer { addr: destination, port: u16::from_be_bytes(tcp.destination) };
    let netns = kernel::netns_of_device(kernel::read::<u64>(skb, &kernel::OFF_SKB_DEV)?)?;
    if !filter::passes_for_packet(netns, &peer) {
        return Ok(());
    }
    let time_ns = now();
    let record = Record {
        time_ns,
        attempt: Attempt { start_ns: time_ns, ..attempt::NOBODY },
        local_addr: bytes(source),
        peer_addr: bytes(peer.addr),
        local_port: u16::from_be_bytes(tcp.source),
        peer_port: peer.port,
        netns,
        error: reason,
        soft_error: 0,
        exit_code: 0,
        kind: kind::DROP,
        padding: [0; 3],
        icmp: NO_ICMP,
    };
    send(ctx, &record, UserStack::None);
    Ok(())
}

/// Source and destination of a packet that holds TCP.
#[inline(always)]
fn tcp_addresses(network: u64) -> Result<Option<([u32; 4], [u32; 4])>, Fault> {
    match kernel::read_at::<u8>(network)? >> 4 {
        4 if kernel::read_at::<u8>(network + 9)? == IPPROTO_TCP => {
            let [source, destination] = kernel::read_at::<[u32; 2]>(network + 12)?;
            Ok(Some((kernel::v4_mapped(source), kernel::v4_mapped(destination))))
        }
        6 if kernel::read_at::<u8>(network + 6)? == IPPROTO_TCP => {
            let [source, destination] = kernel::read_at::<[[u32; 4]; 2]>(network + 8)?;
            Ok(Some((source, destination)))
        }
        _ => Ok(None),
    }
}
