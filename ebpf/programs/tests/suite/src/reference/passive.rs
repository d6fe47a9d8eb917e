//! What is told without an attempt: answers that nobody answers, dropped packets, and calls of connect() that
//! fail before a SYN.

use std::net::{IpAddr, Ipv6Addr};

use synscope_ebpf::record::{NO_ICMP, Record, evidence, kind};

use super::{Fallible, Reference, UserStack};
use crate::{
    case::Index,
    settings::mapped,
    things::{Packet, TCP},
};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// What connect() returns that is no failure, or one that only a sent SYN can bring: EINTR, EBADF, EAGAIN,
/// EFAULT, ENOTSOCK, ECONNABORTED, ECONNRESET, EISCONN, ETIMEDOUT, ECONNREFUSED, EALREADY, EINPROGRESS.
const NOT_BEFORE_SYN: [i64; 12] = [4, 9, 11, 14, 88, 103, 104, 106, 110, 111, 114, 115];
/// From here on the kernel talks to itself (ERESTARTSYS).
const INTERNAL: i64 = 512;

impl Reference<'_> {
    pub(super) fn synack(&mut self, request: Index) -> Fallible {
        // family, peer, port
        self.reads(3)?;
        let asked = self.requests[request];
        if self.asks_for_owner() || !self.passes_with_peer(&asked, asked.peer, asked.peer_port)? {
            return Ok(());
        }
        // retransmits, local address and port, the namespace and its number
        self.reads(5)?;
        let attempt = super::Attempt { retransmits: u16::from(asked.retrans) + 1, ..self.nobody() };
        let record = self.about(asked.local, asked.num, asked.peer, asked.peer_port, asked.netns);
        self.send(Record { attempt, kind: kind::SYNACK_RETRANSMIT, ..record }, UserStack::None);
        Ok(())
    }

    pub(super) fn dropped(&mut self, packet: Index, reason: i32) -> Fallible {
        let reason = if self.kernel.has("DROP_HAS_REASON") { reason } else { 0 };
        self.read()?;
        let packet = self.packets[packet];
        match packet.sock {
            Some(sock) if self.attempts.contains_key(&sock) => self.tell(sock, kind::DROP, Some(reason)),
            _ => self.unowned(packet, reason),
        }
    }

    /// A SYN that no longer knows its socket speaks for itself.
    fn unowned(&mut self, packet: Packet, reason: i32) -> Fallible {
        self.read()?;
        if !packet.has_transport {
            return Ok(());
        }
        // the buffer, where the network header is, the version
        self.reads(3)?;
        if ![4, 6].contains(&packet.version) {
            return Ok(());
        }
        self.read()?;
        if u16::from(packet.protocol) != TCP {
            return Ok(());
        }
        // addresses, the TCP header
        self.reads(2)?;
        if packet.flags & (SYN | ACK) != SYN {
            return Ok(());
        }
        self.read()?;
        if packet.device.is_some() {
            self.reads(2)?;
        }
        let netns = packet.device.unwrap_or(0);
        let (source_port, destination_port) = packet.ports;
        if !self.packet_passes(netns, packet.destination, destination_port) {
            return Ok(());
        }
        let record = self.about(packet.source, source_port, packet.destination, destination_port, netns);
        let attempt = self.nobody();
        self.send(Record { attempt, error: reason, kind: kind::DROP, ..record }, UserStack::None);
        Ok(())
    }

    pub(super) fn returned(&mut self, sock: Index, value: i64) -> Fallible {
        let error = -value;
        if error <= 0 || error >= INTERNAL || NOT_BEFORE_SYN.contains(&error) {
            return Ok(());
        }
        if !self.kernel.has("HAS_TASK_PT_REGS") {
            self.read()?;
        }
        // the descriptor; the files, their table, its array, the entry
        self.reads(5)?;
        if sock >= self.sockets.len() {
            return Ok(());
        }
        // the file, the socket, the protocol
        self.reads(3)?;
        let is_over = |it: &mut Self| it.attempts.contains_key(&sock) || it.ended.remove(&sock);
        if self.sockets[sock].protocol != TCP || is_over(self) {
            return Ok(());
        }
        self.read()?;
        self.failed_before_syn(sock, i32::try_from(error).unwrap_or(i32::MAX))
    }

    fn failed_before_syn(&mut self, sock: Index, error: i32) -> Fallible {
        let (peer, port) = self.given_address();
        let socket = self.sockets[sock];
        if !self.owner_passes() || !self.passes_with_peer(&socket, peer, port)? {
            return Ok(());
        }
        let id = self.number();
        self.counters.failed += 1;
        let mm = self.mm();
        let attempt =
            super::Attempt { id, mm, evidence: evidence::BEFORE_SYN, ..self.attempt_of_current_task() };
        self.keep_code(&attempt);
        let record = self.describe(sock, attempt, kind::FAILED, Some(error))?;
        self.send(Record { peer_addr: mapped(peer), peer_port: port, ..record }, UserStack::Current);
        Ok(())
    }

    /// What can be read of the address that connect() was given: all of it, or the part of an IPv4 address,
    /// or nothing.
    fn given_address(&mut self) -> (IpAddr, u16) {
        const NOTHING: (IpAddr, u16) = (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
        const IPV4_LEN: usize = 8;
        const IPV6_LEN: usize = 28;
        let Some((address, port, len)) = self.address else {
            // Both tries count as reads.
            let _ = (self.read(), self.read());
            return NOTHING;
        };
        // The programs read 24 of IPv6's 28 bytes; the rest is the scope.
        let whole = self.read().is_ok() && len >= IPV6_LEN - 4;
        if whole {
            return (address, port);
        }
        let is_short = self.read().is_ok() && len >= IPV4_LEN;
        match (is_short, address) {
            (true, IpAddr::V4(_)) => (address, port),
            // The family says IPv6, and of the address nothing was read.
            (true, IpAddr::V6(_)) => (NOTHING.0, port),
            (false, _) => NOTHING,
        }
    }

    fn about(&self, local: IpAddr, local_port: u16, peer: IpAddr, peer_port: u16, netns: u32) -> Record {
        Record {
            time_ns: self.now,
            attempt: self.nobody(),
            local_addr: mapped(local),
            peer_addr: mapped(peer),
            local_port,
            peer_port,
            netns,
            error: 0,
            soft_error: 0,
            exit_code: 0,
            kind: 0,
            padding: [0; 3],
            icmp: NO_ICMP,
        }
    }
}
