//! The trace's filters, evaluated before anything is stored. A filter that is not asked for is a branch on
//! a read-only global, which the verifier removes.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, LpmTrie, lpm_trie::Key},
};
use synscope_ebpf::record::{Attempt, FilterId, LOCAL_PORTS_AT, PEER_PORTS_AT, PORT_WORDS, filter as bit};

use crate::kernel::{self, Fault, Peer, V4_MAPPED};

/// Which filters are on: bits of `synscope_ebpf::record::filter`.
#[unsafe(no_mangle)]
static FILTERS: Global<u32> = Global::new(0);

#[map]
static FILTER_IDS: HashMap<FilterId, u8> = HashMap::with_max_entries(1024, 0);
#[map]
static FILTER_COMMS: HashMap<[u8; 16], u8> = HashMap::with_max_entries(64, 0);
#[map]
static FILTER_PEERS: LpmTrie<[u32; 4], u8> = LpmTrie::with_max_entries(1024, BPF_F_NO_PREALLOC);
#[map]
static FILTER_PORTS: Array<u64> = Array::with_max_entries(2 * PORT_WORDS, 0);

/// A trie has no other way to be allocated.
const BPF_F_NO_PREALLOC: u32 = 1;

#[inline(always)]
fn on(filter: u32) -> bool {
    FILTERS.load() & filter != 0
}

#[inline(always)]
fn has_id(filter: u32, value: u64) -> bool {
    FILTER_IDS.get_ptr(&FilterId { filter, padding: 0, value }).is_some()
}

#[inline(always)]
fn has_port(set: u32, port: u16) -> bool {
    let port = u32::from(port);
    match FILTER_PORTS.get(set + port / 64) {
        Some(word) => word >> (port % 64) & 1 == 1,
        None => false,
    }
}

/// True when the caller is one that the trace asks for.
#[inline(always)]
fn owner_passes(owner: &Attempt) -> bool {
    (!on(bit::PID) || has_id(bit::PID, u64::from(owner.tgid)))
        && (!on(bit::UID) || has_id(bit::UID, u64::from(owner.uid)))
        && (!on(bit::CGROUP) || has_id(bit::CGROUP, owner.cgroup))
        && (!on(bit::COMM) || FILTER_COMMS.get_ptr(&owner.comm).is_some())
}

/// True when the socket goes where the trace asks for. At CLOSE → SYN_SENT the socket knows its peer already;
/// before, the caller says it.
#[inline(always)]
fn socket_passes(sock: u64, peer: Option<&Peer>) -> Result<bool, Fault> {
    if on(bit::NETNS) && !has_id(bit::NETNS, u64::from(kernel::netns(sock)?)) {
        return Ok(false);
    }
    if on(bit::PEER_PORT) {
        let port = match peer {
            Some(peer) => peer.port,
            None => kernel::peer_port(sock)?,
        };
        if !has_port(PEER_PORTS_AT, port) {
            return Ok(false);
        }
    }
    if !on(bit::PEER | bit::IPV4 | bit::IPV6) {
        return Ok(true);
    }
    Ok(address_passes(match peer {
        Some(peer) => peer.addr,
        None => kernel::peer_addr(sock, kernel::family(sock)?)?,
    }))
}

#[inline(always)]
fn address_passes(peer: [u32; 4]) -> bool {
    let is_v4 = peer[0] == 0 && peer[1] == 0 && peer[2] == V4_MAPPED;
    (!on(bit::IPV4) || is_v4)
        && (!on(bit::IPV6) || !is_v4)
        && (!on(bit::PEER) || FILTER_PEERS.get(&Key::new(128, peer)).is_some())
}

/// True when an attempt is one that the trace asks for, as far as can be known at its start.
#[inline(always)]
pub(crate) fn passes_at_start(sock: u64, owner: &Attempt, peer: Option<&Peer>) -> Result<bool, Fault> {
    Ok(owner_passes(owner) && socket_passes(sock, peer)?)
}

/// The same for the passive side, where no process of this host asked for anything: a trace that asks for
/// certain callers is told nothing.
#[inline(always)]
pub(crate) fn passes_without_owner(request: u64, peer: &Peer) -> Result<bool, Fault> {
    Ok(!on(bit::PID | bit::COMM | bit::UID | bit::CGROUP) && socket_passes(request, Some(peer))?)
}

/// The same for a packet whose socket is not known.
#[inline(always)]
pub(crate) fn passes_for_packet(netns: u32, peer: &Peer) -> bool {
    !on(bit::PID | bit::COMM | bit::UID | bit::CGROUP)
        && (!on(bit::NETNS) || has_id(bit::NETNS, u64::from(netns)))
        && (!on(bit::PEER_PORT) || has_port(PEER_PORTS_AT, peer.port))
        && (!on(bit::PEER | bit::IPV4 | bit::IPV6) || address_passes(peer.addr))
}

/// The rest, when an event is told: the local port is chosen only after SYN_SENT is entered
/// (tcp_v4_connect before inet_hash_connect; 6.18, net/ipv4/tcp_ipv4.c).
#[inline(always)]
pub(crate) fn passes_when_told(local_port: u16) -> bool {
    !on(bit::LOCAL_PORT) || has_port(LOCAL_PORTS_AT, local_port)
}
