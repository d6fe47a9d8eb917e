//! The ICMP error that an attempt was answered with, as the socket's error queue still holds it at the end.
//!
//! In SYN_SENT the kernel queues it whether the application asked for it or not, and whether or not the owner holds the
//! socket at that moment (tcp_v4_err, ip_icmp_error; 5.10 and 6.18, net/ipv4). Reading SO_ERROR takes nothing out. For
//! IPv6 it does so only where the application asked (ipv6_icmp_error in net/ipv6/datagram.c).

use aya_ebpf::Global;
use synscope_ebpf::record::{Icmp, NO_ICMP};

use crate::kernel::{self, Fault};

/// 1 when the kernel's types show all that is read here.
#[unsafe(no_mangle)]
static HAS_ICMP: Global<u32> = Global::new(0);

// Where an error comes from (include/uapi/linux/errqueue.h).
const SO_EE_ORIGIN_ICMP: u8 = 2;
const SO_EE_ORIGIN_ICMP6: u8 = 3;
/// Where the sender stands in an IP header.
const V4_SOURCE: u64 = 12;
const V6_SOURCE: u64 = 8;

/// The first members of `struct sock_extended_err` (include/uapi/linux/errqueue.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct ExtendedError {
    errno: i32,
    origin: u8,
    kind: u8,
    code: u8,
    padding: u8,
}

/// The newest ICMP error of a socket.
#[inline(always)]
pub(crate) fn newest(sock: u64) -> Result<Icmp, Fault> {
    if HAS_ICMP.load() == 0 {
        return Ok(NO_ICMP);
    }
    let packet = kernel::read::<u64>(sock, &kernel::OFF_ERROR_QUEUE_PREV)?;
    // An empty list points to itself.
    if packet == 0 || packet == sock + u64::from(kernel::OFF_ERROR_QUEUE.load()) {
        return Ok(NO_ICMP);
    }
    let control = packet + u64::from(kernel::OFF_SKB_CB.load());
    let error = kernel::read::<ExtendedError>(control, &kernel::OFF_EXTERR_EE)?;
    if error.origin != SO_EE_ORIGIN_ICMP && error.origin != SO_EE_ORIGIN_ICMP6 {
        return Ok(NO_ICMP);
    }
    Ok(Icmp {
        sender: sender(packet, error.origin)?,
        errno: error.errno,
        is_v6: u8::from(error.origin == SO_EE_ORIGIN_ICMP6),
        kind: error.kind,
        code: error.code,
        padding: 0,
    })
}

/// Who sent it: the packet's network header is still that of the ICMP message.
#[inline(always)]
fn sender(packet: u64, origin: u8) -> Result<[u8; 16], Fault> {
    let head = kernel::read::<u64>(packet, &kernel::OFF_SKB_HEAD)?;
    let header = head + u64::from(kernel::read::<u16>(packet, &kernel::OFF_SKB_NETWORK_HEADER)?);
    let words = if origin == SO_EE_ORIGIN_ICMP {
        kernel::v4_mapped(kernel::read_at::<u32>(header + V4_SOURCE)?)
    } else {
        kernel::read_at::<[u32; 4]>(header + V6_SOURCE)?
    };
    Ok(crate::tell::bytes(words))
}
