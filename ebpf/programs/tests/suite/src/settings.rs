//! What a trace asks for, as the programs see it: globals, sizes of maps, entries of filters. Written anew
//! here, and not taken from the tracer, so that the two are compared.

use std::{
    collections::BTreeMap,
    mem::offset_of,
    net::{IpAddr, Ipv6Addr},
    ops::RangeInclusive,
};

use bpf_lab::Setup;
use ipnet::IpNet;
use synscope_ebpf::record::{Attempt, LOCAL_PORTS_AT, PEER_PORTS_AT, filter as bit};
use synscope_tracer::{Family, Filter, Options};

use crate::fixtures::Kernel;

/// A map's entry, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The map.
    pub map: &'static str,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// Globals and map sizes for a kernel and a trace.
pub fn setup(kernel: &Kernel, options: &Options) -> Setup {
    let mut globals: BTreeMap<String, Vec<u8>> =
        kernel.globals().iter().map(|(name, value)| (name.clone(), value.to_le_bytes().to_vec())).collect();
    let slow_ns = u64::try_from(options.slow.as_nanos()).unwrap_or(u64::MAX);
    globals.insert("SLOW_NS".into(), slow_ns.to_le_bytes().to_vec());
    let words = [
        ("FILTERS", filter_bits(&options.filter)),
        ("STARTS", u32::from(options.starts)),
        ("STACKS", u32::from(options.stacks)),
    ];
    for (name, value) in words {
        globals.insert(name.into(), value.to_le_bytes().to_vec());
    }
    let max_entries = [
        ("ATTEMPTS", options.max_attempts),
        ("USER_STACKS", if options.stacks { options.max_attempts } else { 1 }),
        ("CODE", if options.stacks { 1024 } else { 1 }),
        ("EVENTS", options.ringbuf_bytes),
    ];
    Setup {
        globals,
        max_entries: max_entries.map(|(map, entries)| (map.to_owned(), entries)).into(),
        kernel: kernel.version,
    }
}

/// Which filters are on.
pub fn filter_bits(filter: &Filter) -> u32 {
    let fields = [
        (bit::PID, !filter.pids.is_empty()),
        (bit::COMM, !filter.comms.is_empty()),
        (bit::UID, !filter.uids.is_empty()),
        (bit::CGROUP, !filter.cgroups.is_empty()),
        (bit::NETNS, !filter.netns.is_empty()),
        (bit::IPV4, filter.family == Some(Family::Ipv4)),
        (bit::IPV6, filter.family == Some(Family::Ipv6)),
        (bit::PEER, !filter.peers.is_empty()),
        (bit::PEER_PORT, !filter.peer_ports.is_empty()),
        (bit::LOCAL_PORT, !filter.local_ports.is_empty()),
    ];
    fields.into_iter().filter(|&(_, on)| on).fold(0, |bits, (bit, _)| bits | bit)
}

/// What the filter maps hold.
pub fn entries(filter: &Filter) -> Vec<Entry> {
    let one = |map, key| Entry { map, key, value: vec![1] };
    let id = |bit: u32, value: u64| {
        one("FILTER_IDS", [u64::from(bit).to_le_bytes(), value.to_le_bytes()].concat())
    };
    let mut entries = Vec::new();
    entries.extend(filter.pids.iter().map(|&pid| id(bit::PID, pid.into())));
    entries.extend(filter.uids.iter().map(|&uid| id(bit::UID, uid.into())));
    entries.extend(filter.netns.iter().map(|&netns| id(bit::NETNS, netns.into())));
    entries.extend(filter.cgroups.iter().map(|&cgroup| id(bit::CGROUP, cgroup)));
    entries.extend(filter.comms.iter().map(|comm| one("FILTER_COMMS", padded(comm).to_vec())));
    entries.extend(filter.peers.iter().map(|peer| one("FILTER_PEERS", network(peer))));
    entries.extend(ports(&filter.peer_ports, PEER_PORTS_AT));
    entries.extend(ports(&filter.local_ports, LOCAL_PORTS_AT));
    entries
}

/// Makes an attempt's counts as large, where it lies in its map.
pub fn set_counts(attempt: &mut [u8], count: u16) {
    let counts =
        [offset_of!(Attempt, retransmits), offset_of!(Attempt, unsent), offset_of!(Attempt, challenges)];
    for at in counts {
        attempt[at..at + 2].copy_from_slice(&count.to_le_bytes());
    }
}

/// A thread name as the kernel keeps it.
pub fn padded(comm: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..comm.len()].copy_from_slice(comm.as_bytes());
    bytes
}

/// An address as the records show it.
pub fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn network(network: &IpNet) -> Vec<u8> {
    let v4_prefix = if network.addr().is_ipv4() { 96 } else { 0 };
    let len = u32::from(network.prefix_len()) + v4_prefix;
    let address: Ipv6Addr = mapped(network.network()).into();
    [&len.to_le_bytes()[..], &address.octets()].concat()
}

fn ports(ranges: &[RangeInclusive<u16>], at: u32) -> Vec<Entry> {
    let mut words: BTreeMap<u32, u64> = BTreeMap::new();
    for port in ranges.iter().cloned().flatten() {
        *words.entry(at + u32::from(port / 64)).or_default() |= 1 << (port % 64);
    }
    let entry = |(word, bits): (u32, u64)| Entry {
        map: "FILTER_PORTS",
        key: word.to_le_bytes().to_vec(),
        value: bits.to_le_bytes().to_vec(),
    };
    words.into_iter().map(entry).collect()
}
