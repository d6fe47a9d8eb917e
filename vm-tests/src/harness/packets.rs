//! Packets seen on the way, and answers to them that only a router or a firewall would send.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

/// How long a SYN may take from connect() to the wire.
const SYN_LIMIT: Duration = Duration::from_secs(5);
const TCP: u8 = 6;
const SYN: u8 = 0x02;
const FLAGS: u8 = 0x3f;

/// An ICMP or ICMPv6 error by type and code.
#[derive(Clone, Copy, Debug)]
pub struct Icmp(pub u8, pub u8);

/// What arrives at any interface of the namespace, from the IP header on.
pub struct Wire(Socket);

/// A SYN on the wire.
#[derive(Clone, Debug)]
pub struct Syn {
    packet: Vec<u8>,
    source: SocketAddr,
}

impl Wire {
    /// Listens in the namespace that this thread is in, to packets of this address's family.
    pub fn tap(family: IpAddr) -> Result<Self> {
        let ethertype: u16 = if family.is_ipv4() { 0x0800 } else { 0x86dd };
        let protocol = Protocol::from(i32::from(ethertype.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol)).context("a packet socket")?;
        socket.set_read_timeout(Some(SYN_LIMIT))?;
        Ok(Self(socket))
    }

    /// The next SYN.
    pub fn next_syn(&self) -> Result<Syn> {
        let deadline = Instant::now() + SYN_LIMIT;
        let mut packet = [0; 1500];
        while Instant::now() < deadline {
            match (&self.0).read(&mut packet) {
                Ok(length) => {
                    if let Some(source) = source_of_syn(&packet[..length]) {
                        return Ok(Syn { packet: packet[..length].to_vec(), source });
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("reading packets"),
            }
        }
        anyhow::bail!("no SYN within {SYN_LIMIT:?}")
    }
}

impl Syn {
    /// The sender's address and port.
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// Sends the SYN's sender an ICMP error about it.
    pub fn answer(&self, icmp: Icmp) -> Result<()> {
        let Icmp(kind, code) = icmp;
        let mut message = [&[kind, code, 0, 0, 0, 0, 0, 0], &self.packet[..]].concat();
        let (domain, protocol) = match self.source {
            SocketAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            SocketAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        if self.source.is_ipv4() {
            // The kernel adds the checksum of ICMPv6 only, which covers addresses as well.
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        let socket = Socket::new(domain, Type::RAW, Some(protocol)).context("a raw socket")?;
        let sent = socket.send_to(&message, &SocketAddr::new(self.source.ip(), 0).into())?;
        ensure!(sent == message.len(), "ICMP was cut: {sent} of {} bytes", message.len());
        Ok(())
    }
}

/// The sender, when the packet is a SYN and nothing else.
fn source_of_syn(packet: &[u8]) -> Option<SocketAddr> {
    let (protocol, source, tcp): (u8, IpAddr, &[u8]) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 0xf) * 4;
            let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            (*packet.get(9)?, Ipv4Addr::from(source).into(), packet.get(header..)?)
        }
        6 => {
            let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            (*packet.get(6)?, Ipv6Addr::from(source).into(), packet.get(40..)?)
        }
        _ => return None,
    };
    let port = u16::from_be_bytes(tcp.get(..2)?.try_into().ok()?);
    (protocol == TCP && tcp.get(13)? & FLAGS == SYN).then_some(SocketAddr::new(source, port))
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let sum = words.fold(0_u32, |sum, word| sum + u32::from(word));
    let folded = (sum & 0xffff) + (sum >> 16);
    #[expect(clippy::cast_possible_truncation, reason = "the carry is folded in, twice at the most")]
    let sum = ((folded & 0xffff) + (folded >> 16)) as u16;
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_message_with_its_checksum_is_zero() {
        let mut message = [3, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0x45];
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&message), 0);
    }

    #[test]
    fn only_a_syn_is_a_syn() {
        let mut packet = vec![0; 40];
        (packet[0], packet[9], packet[33]) = (0x45, TCP, SYN);
        packet[12..16].copy_from_slice(&[10, 99, 0, 1]);
        packet[20..22].copy_from_slice(&40_000_u16.to_be_bytes());
        assert_eq!(source_of_syn(&packet), Some("10.99.0.1:40000".parse().unwrap()));
        packet[33] = SYN | 0x10;
        assert_eq!(source_of_syn(&packet), None);
        assert_eq!(source_of_syn(&packet[..30]), None);
    }
}
