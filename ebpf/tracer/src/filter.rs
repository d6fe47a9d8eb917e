//! Which attempts a trace asks for. All of it is evaluated in the kernel.

use std::{
    net::{IpAddr, Ipv6Addr},
    ops::RangeInclusive,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, MapError, lpm_trie::Key},
};
use ipnet::IpNet;
use synscope_ebpf::record::{LOCAL_PORTS_AT, PEER_PORTS_AT, PORT_WORDS, filter as bit};

use crate::load::map;

/// Address family of an attempt. v4-mapped IPv6 counts as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Which attempts a trace asks for: those that match one value of every field that has any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Process (thread group) ids of the caller, initial pid namespace.
    pub pids: Vec<u32>,
    /// Thread names of the caller, at most [`Filter::MAX_COMM`] bytes each.
    pub comms: Vec<String>,
    /// User ids of the caller.
    pub uids: Vec<u32>,
    /// Cgroup v2 ids of the caller.
    pub cgroups: Vec<u64>,
    /// Numbers of the socket's network namespace.
    pub netns: Vec<u32>,
    /// One family only.
    pub family: Option<Family>,
    /// Networks of the peer.
    pub peers: Vec<IpNet>,
    /// Ports of the peer.
    pub peer_ports: Vec<RangeInclusive<u16>>,
    /// Local ports; checked when an event is told, since connect() often chooses the port last.
    pub local_ports: Vec<RangeInclusive<u16>>,
}

impl Filter {
    /// Longest thread name that the kernel keeps, in bytes.
    pub const MAX_COMM: usize = 15;
    /// Most values of one field. What the filter maps hold follows from it.
    pub const MAX_VALUES: usize = 64;

    /// The bits of the programs' `FILTERS` global.
    pub(crate) fn bits(&self) -> u32 {
        let set = |bit: u32, is_set: bool| if is_set { bit } else { 0 };
        set(bit::PID, !self.pids.is_empty())
            | set(bit::COMM, !self.comms.is_empty())
            | set(bit::UID, !self.uids.is_empty())
            | set(bit::CGROUP, !self.cgroups.is_empty())
            | set(bit::NETNS, !self.netns.is_empty())
            | set(bit::IPV4, self.family == Some(Family::Ipv4))
            | set(bit::IPV6, self.family == Some(Family::Ipv6))
            | set(bit::PEER, !self.peers.is_empty())
            | set(bit::PEER_PORT, !self.peer_ports.is_empty())
            | set(bit::LOCAL_PORT, !self.local_ports.is_empty())
    }

    /// Fills the filter maps of a loaded object. Done before anything is attached.
    pub(crate) fn install(&self, ebpf: &mut Ebpf) -> Result<(), MapError> {
        self.install_ids(ebpf)?;
        let mut comms: HashMap<_, [u8; 16], u8> = map(ebpf, "FILTER_COMMS")?;
        for comm in &self.comms {
            comms.insert(padded(comm), 1, 0)?;
        }
        let mut peers: LpmTrie<_, [u8; 16], u8> = map(ebpf, "FILTER_PEERS")?;
        for peer in &self.peers {
            peers.insert(&trie_key(peer), 1, 0)?;
        }
        let mut ports: Array<_, u64> = map(ebpf, "FILTER_PORTS")?;
        for (ranges, at) in [(&self.peer_ports, PEER_PORTS_AT), (&self.local_ports, LOCAL_PORTS_AT)] {
            if ranges.is_empty() {
                continue;
            }
            for (word, value) in (at..).zip(port_set(ranges)) {
                ports.set(word, value, 0)?;
            }
        }
        Ok(())
    }

    fn install_ids(&self, ebpf: &mut Ebpf) -> Result<(), MapError> {
        // The key is a FilterId: the filter's bit, four bytes of zero, the value; little-endian.
        let mut ids: HashMap<_, [u64; 2], u8> = map(ebpf, "FILTER_IDS")?;
        let widened = |values: &[u32]| values.iter().copied().map(u64::from).collect::<Vec<_>>();
        let fields = [
            (bit::PID, widened(&self.pids)),
            (bit::UID, widened(&self.uids)),
            (bit::NETNS, widened(&self.netns)),
            (bit::CGROUP, self.cgroups.clone()),
        ];
        for (bit, values) in fields {
            for value in values {
                ids.insert([u64::from(bit), value], 1, 0)?;
            }
        }
        Ok(())
    }
}

/// A thread name as the kernel keeps it.
fn padded(comm: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let len = comm.len().min(Filter::MAX_COMM);
    bytes[..len].copy_from_slice(&comm.as_bytes()[..len]);
    bytes
}

/// The programs compare every address as IPv6.
fn trie_key(network: &IpNet) -> Key<[u8; 16]> {
    let (address, prefix): (Ipv6Addr, u8) = match network.network() {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped(), network.prefix_len() + 96),
        IpAddr::V6(v6) => (v6, network.prefix_len()),
    };
    Key::new(u32::from(prefix), address.octets())
}

/// A bit for each port, 64 a word.
fn port_set(ranges: &[RangeInclusive<u16>]) -> Vec<u64> {
    let mut words = vec![0_u64; PORT_WORDS as usize];
    for port in ranges.iter().cloned().flatten() {
        words[usize::from(port / 64)] |= 1 << (port % 64);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_network_is_a_v4_mapped_one() {
        let key = trie_key(&"10.1.0.0/16".parse().unwrap());
        let (prefix, data) = (key.prefix_len(), key.data());
        assert_eq!(prefix, 112);
        assert_eq!(data[10..14], [0xff, 0xff, 10, 1]);
    }

    #[test]
    fn ranges_set_their_ports_and_no_others() {
        let words = port_set(&[63..=65, 65535..=65535]);
        assert_eq!(words[0], 1 << 63);
        assert_eq!(words[1], 0b11);
        assert_eq!(words[1023], 1 << 63);
        assert_eq!(words.iter().map(|word| word.count_ones()).sum::<u32>(), 4);
    }
}
