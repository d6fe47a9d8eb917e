//! What the fabricated kernel consists of: sockets, requests, packets, the current task. Each can be written
//! as the bytes of the kernel's structures.

use std::net::IpAddr;

use crate::fixtures::Kernel;

/// `AF_INET`
pub const AF_INET: u16 = 2;
/// `AF_INET6`
pub const AF_INET6: u16 = 10;
/// `IPPROTO_TCP`
pub const TCP: u16 = 6;

/// What fills a structure where nothing else was put. Reading a member at a wrong place gives this.
const POISON: u8 = 0xee;

/// A socket as the programs can see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Says which addresses count.
    pub family: u16,
    /// `sk_protocol`
    pub protocol: u16,
    /// Its own address.
    pub local: IpAddr,
    /// Where it goes.
    pub peer: IpAddr,
    /// `inet_sport`, host order.
    pub local_port: u16,
    /// `skc_num`: what is left of the port at →CLOSE is not this one.
    pub num: u16,
    /// Host order.
    pub peer_port: u16,
    /// `sk_err`
    pub error: i32,
    /// `sk_err_soft`
    pub soft_error: i32,
    /// Number of its network namespace.
    pub netns: u32,
    /// `icsk_pending`: which timer is armed, 0 for none.
    pub pending: u8,
    /// Of requests: `num_retrans`.
    pub retrans: u8,
    /// The newest entry of `sk_error_queue`.
    pub queued: Option<Queued>,
}

/// An error in a socket's queue, with the packet that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// `ee_origin`
    pub origin: u8,
    /// `ee_errno`
    pub errno: i32,
    /// `ee_type`
    pub kind: u8,
    /// `ee_code`
    pub code: u8,
    /// Source in the packet's IP header.
    pub sender: IpAddr,
}

/// A packet: an `sk_buff` with its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The socket that sent it, if it still knows.
    pub sock: Option<usize>,
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// Ports in that order, host order.
    pub ports: (u16, u16),
    /// Of the TCP header.
    pub flags: u8,
    /// Protocol in the IP header.
    pub protocol: u8,
    /// IP version in the header; 4 and 6 are the ones that exist.
    pub version: u8,
    /// True when `transport_header` was set.
    pub has_transport: bool,
    /// Namespace of its device, if it has one.
    pub device: Option<u32>,
}

/// Bytes of a structure, filled member by member.
#[derive(Clone, Debug)]
pub struct Bytes<'a> {
    kernel: &'a Kernel,
    piece: Piece,
}

/// Kernel memory, with what programs may read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Offset and length of each member that was filled.
    pub members: Vec<(usize, usize)>,
}

impl Piece {
    fn of(len: usize) -> Self {
        Self { bytes: vec![POISON; len], members: Vec::new() }
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        self.bytes[at..at + value.len()].copy_from_slice(value);
        self.members.push((at, value.len()));
    }
}

impl<'a> Bytes<'a> {
    /// A structure of which nothing is known.
    pub fn of(kernel: &'a Kernel, structure: &str) -> Self {
        Self { kernel, piece: Piece::of(kernel.size(structure)) }
    }

    /// Puts a value at a member. `structure` is the one that starts where this one starts.
    #[must_use]
    pub fn set(mut self, structure: &'static str, member: &'static str, value: &[u8]) -> Self {
        let at = self.kernel.offset(structure, member);
        self.piece.put(at, value);
        self
    }

    /// The memory that it takes.
    pub fn done(self) -> Piece {
        self.piece
    }
}

/// What `sock_common` holds of an address.
fn addresses<'a>(bytes: Bytes<'a>, local: IpAddr, peer: IpAddr) -> Bytes<'a> {
    let put = |bytes: Bytes<'a>, address: IpAddr, v4: &'static str, v6: &'static str| match address {
        IpAddr::V4(address) => bytes.set("sock_common", v4, &address.octets()),
        IpAddr::V6(address) => bytes.set("sock_common", v6, &address.octets()),
    };
    let bytes = put(bytes, local, "skc_rcv_saddr", "skc_v6_rcv_saddr");
    put(bytes, peer, "skc_daddr", "skc_v6_daddr")
}

impl Socket {
    fn common<'a>(&self, bytes: Bytes<'a>, net: u64) -> Bytes<'a> {
        addresses(bytes, self.local, self.peer)
            .set("sock_common", "skc_family", &self.family.to_le_bytes())
            .set("sock_common", "skc_dport", &self.peer_port.to_be_bytes())
            .set("sock_common", "skc_num", &self.num.to_le_bytes())
            .set("sock_common", "skc_net.net", &net.to_le_bytes())
    }

    /// As a `struct tcp_sock` in the namespace that lies at `net`, its error queue ending with what lies at `last`.
    pub fn to_bytes(&self, kernel: &Kernel, net: u64, last: u64) -> Piece {
        self.common(Bytes::of(kernel, "tcp_sock"), net)
            .set("sock", "sk_err", &self.error.to_le_bytes())
            .set("sock", "sk_err_soft", &self.soft_error.to_le_bytes())
            .set("sock", "sk_protocol", &self.protocol.to_le_bytes())
            .set("inet_sock", "inet_sport", &self.local_port.to_be_bytes())
            .set("inet_connection_sock", "icsk_pending", &[self.pending])
            .set("sock", "sk_error_queue.prev", &last.to_le_bytes())
            .done()
    }

    /// As a `struct request_sock`.
    pub fn to_request(&self, kernel: &Kernel, net: u64) -> Piece {
        self.common(Bytes::of(kernel, "request_sock"), net)
            .set("request_sock", "num_retrans", &[self.retrans])
            .done()
    }
}

/// A `struct net` with a number.
pub fn net(kernel: &Kernel, number: u32) -> Piece {
    Bytes::of(kernel, "net").set("net", "ns.inum", &number.to_le_bytes()).done()
}

/// A `struct net_device` in the namespace that lies at `net`.
pub fn device(kernel: &Kernel, net: u64) -> Piece {
    Bytes::of(kernel, "net_device").set("net_device", "nd_net.net", &net.to_le_bytes()).done()
}

impl Queued {
    /// As a `struct sk_buff` with its buffer.
    pub fn to_bytes(&self, kernel: &Kernel, head: u64) -> Piece {
        let mut packet = Bytes::of(kernel, "sk_buff")
            .set("sk_buff", "head", &head.to_le_bytes())
            .set("sk_buff", "network_header", &NETWORK_AT.to_le_bytes())
            .done();
        let at = kernel.offset("sk_buff", "cb") + kernel.offset("sock_exterr_skb", "ee");
        let [a, b, c, d] = self.errno.to_le_bytes();
        packet.put(at, &[a, b, c, d, self.origin, self.kind, self.code, POISON]);
        packet
    }

    /// The buffer: the ICMP message's IP header.
    pub fn header(&self) -> Piece {
        let mut piece = Piece::of(160);
        match self.sender {
            IpAddr::V4(sender) => piece.put(usize::from(NETWORK_AT) + 12, &sender.octets()),
            IpAddr::V6(sender) => piece.put(usize::from(NETWORK_AT) + 8, &sender.octets()),
        }
        piece
    }
}

/// Where the headers lie in a packet's buffer.
const NETWORK_AT: u16 = 30;
const TRANSPORT_AT: u16 = 90;

impl Packet {
    /// As a `struct sk_buff`, with the addresses of its socket, its device and its buffer.
    pub fn to_bytes(&self, kernel: &Kernel, sock: u64, device: u64, head: u64) -> Piece {
        let transport = if self.has_transport { TRANSPORT_AT } else { u16::MAX };
        Bytes::of(kernel, "sk_buff")
            .set("sk_buff", "sk", &sock.to_le_bytes())
            .set("sk_buff", "dev", &device.to_le_bytes())
            .set("sk_buff", "head", &head.to_le_bytes())
            .set("sk_buff", "network_header", &NETWORK_AT.to_le_bytes())
            .set("sk_buff", "transport_header", &transport.to_le_bytes())
            .done()
    }

    /// The buffer: both headers.
    pub fn headers(&self) -> Piece {
        let mut piece = Piece::of(160);
        let (network, transport) = (usize::from(NETWORK_AT), usize::from(TRANSPORT_AT));
        piece.put(network, &[self.version << 4 | 5]);
        piece.put(network + if self.version == 4 { 9 } else { 6 }, &[self.protocol]);
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let addresses = [octets(self.source), octets(self.destination)].concat();
        piece.put(network + if self.version == 4 { 12 } else { 8 }, &addresses);
        // The header up to the window: ports, sequence, acknowledgement, length and flags.
        let mut tcp = [POISON; 16];
        tcp[..2].copy_from_slice(&self.ports.0.to_be_bytes());
        tcp[2..4].copy_from_slice(&self.ports.1.to_be_bytes());
        tcp[13] = self.flags;
        piece.put(transport, &tcp);
        piece
    }
}
