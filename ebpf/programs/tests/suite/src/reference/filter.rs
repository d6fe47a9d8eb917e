//! Who and what a trace asks for.

use std::net::IpAddr;

use synscope_tracer::{Family, Filter};

use super::{Fallible, Reference};
use crate::{
    case::Index,
    settings::{mapped, padded},
    things::Socket,
};

/// An empty list asks for everything.
fn asks<T>(list: &[T], matches: impl Fn(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(matches)
}

/// An address as the records show it: v4-mapped ones are IPv4.
fn canonical(address: IpAddr) -> IpAddr {
    IpAddr::from(mapped(address)).to_canonical()
}

fn address_passes(filter: &Filter, peer: IpAddr) -> bool {
    let peer = canonical(peer);
    let family = if peer.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
    filter.family.is_none_or(|wanted| wanted == family)
        && asks(&filter.peers, |network| network.contains(&peer))
}

fn asks_for_address(filter: &Filter) -> bool {
    filter.family.is_some() || !filter.peers.is_empty()
}

impl Reference<'_> {
    pub(super) fn owner_passes(&self) -> bool {
        let (filter, task) = (&self.options.filter, &self.task);
        asks(&filter.pids, |&pid| pid == task.tgid)
            && asks(&filter.uids, |&uid| uid == task.uid)
            && asks(&filter.cgroups, |&cgroup| cgroup == task.cgroup)
            && asks(&filter.comms, |comm| padded(comm) == task.comm)
    }

    pub(super) fn asks_for_owner(&self) -> bool {
        let filter = &self.options.filter;
        !(filter.pids.is_empty()
            && filter.uids.is_empty()
            && filter.cgroups.is_empty()
            && filter.comms.is_empty())
    }

    /// For a socket in SYN_SENT, which knows its peer.
    pub(super) fn socket_passes(&mut self, sock: Index) -> Fallible<bool> {
        let socket = self.sockets[sock];
        if !self.netns_passes(&socket)? {
            return Ok(false);
        }
        if !self.options.filter.peer_ports.is_empty() {
            self.read()?;
            if !self.port_passes(socket.peer_port) {
                return Ok(false);
            }
        }
        if asks_for_address(&self.options.filter) {
            self.reads(2)?;
        }
        Ok(address_passes(&self.options.filter, socket.peer))
    }

    /// For a socket or request whose peer is known from elsewhere.
    pub(super) fn passes_with_peer(&mut self, socket: &Socket, peer: IpAddr, port: u16) -> Fallible<bool> {
        Ok(self.netns_passes(socket)? && self.port_passes(port) && address_passes(&self.options.filter, peer))
    }

    /// For a packet without a socket.
    pub(super) fn packet_passes(&self, netns: u32, peer: IpAddr, port: u16) -> bool {
        let filter = &self.options.filter;
        !self.asks_for_owner()
            && asks(&filter.netns, |&wanted| wanted == netns)
            && self.port_passes(port)
            && address_passes(filter, peer)
    }

    fn netns_passes(&mut self, socket: &Socket) -> Fallible<bool> {
        if self.options.filter.netns.is_empty() {
            return Ok(true);
        }
        self.reads(2)?;
        Ok(self.options.filter.netns.contains(&socket.netns))
    }

    fn port_passes(&self, port: u16) -> bool {
        asks(&self.options.filter.peer_ports, |range| range.contains(&port))
    }

    /// The local port is known last.
    pub(super) fn passes_when_told(&self, port: u16) -> bool {
        asks(&self.options.filter.local_ports, |range| range.contains(&port))
    }
}
