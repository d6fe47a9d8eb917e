//! What is told without an attempt: unanswered SYN-ACKs, dropped packets.

use std::net::Ipv6Addr;

use synscope_ebpf::record::kind;

use super::{NETNS, case, close, connect, establish, failed, told, v4, v6};
use crate::{
    case::{Case, Step, Told},
    things::{Packet, Socket},
};

pub(super) fn cases() -> Vec<Case> {
    [synacks(), owned_drops(), unowned_drops()].concat()
}

fn synacks() -> Vec<Case> {
    let answered = |retransmits| Told { retransmits, ..told(kind::SYNACK_RETRANSMIT) };
    let families = [("IPv4", v4()), ("IPv6", v6())].map(|(name, request)| {
        case(format!("a SYN-ACK of {name} that nobody answers"))
            .requests([request, Socket { retrans: 4, num: 22, ..request }])
            .steps([Step::SynAck(0), Step::SynAck(1)])
            .tells([answered(1), answered(5)])
            .counts(|counters| (counters.started, counters.produced) == (0, 2))
    });
    let largest = case("the largest count of a request").requests([Socket { retrans: u8::MAX, ..v4() }]);
    let largest = largest.steps([Step::SynAck(0)]).tells([answered(256)]);
    [families.as_slice(), &[largest]].concat()
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

pub(super) fn syn() -> Packet {
    let socket = v4();
    Packet {
        sock: None,
        source: socket.local,
        destination: socket.peer,
        ports: (socket.local_port, socket.peer_port),
        flags: SYN,
        protocol: 6,
        version: 4,
        has_transport: true,
        device: Some(NETNS),
    }
}

fn syn_v6() -> Packet {
    let socket = v6();
    Packet { source: socket.local, destination: socket.peer, version: 6, device: None, ..syn() }
}

fn owned_drops() -> Vec<Case> {
    let owned = Packet { sock: Some(0), ..syn() };
    vec![
        case("a dropped packet of an attempt is told with the reason")
            .needs("DROP_HAS_REASON")
            .packets([owned])
            .steps([connect(0), Step::Drop(0, 75), Step::Drop(0, 2), close(0)])
            .tells([
                Told { error: 75, ..told(kind::DROP) },
                Told { error: 2, ..told(kind::DROP) },
                failed(0),
            ]),
        case("a dropped packet whose attempt is over speaks for itself")
            .packets([owned, Packet { flags: ACK, ..owned }])
            .steps([connect(0), establish(0), Step::Drop(0, 0), Step::Drop(1, 0)])
            .tells([told(kind::DROP)]),
    ]
}

fn unowned_drops() -> Vec<Case> {
    let silent = |name: &str, packet: Packet| {
        let both = [packet, Packet { source: syn_v6().source, destination: syn_v6().destination, ..packet }];
        let packets = if packet.version == 4 { vec![packet] } else { vec![both[1]] };
        case(format!("not told: a dropped packet {name}"))
            .packets(packets)
            .steps([Step::Drop(0, 5)])
            .tells([])
    };
    let loud = |name: &str, packet: Packet| {
        case(format!("told: a dropped SYN {name}"))
            .needs("DROP_HAS_REASON")
            .packets([packet])
            .steps([Step::Drop(0, 5)])
            .tells([Told { error: 5, ..told(kind::DROP) }])
    };
    vec![
        loud("of IPv4", syn()),
        loud("of IPv6, without a device", syn_v6()),
        loud("of IPv6, on a device", Packet { device: Some(7), ..syn_v6() }),
        loud("with other flags beside", Packet { flags: SYN | 0xc0, ..syn() }),
        loud(
            "to a v4-mapped address",
            Packet { destination: Ipv6Addr::from(0xffff_0a00_0001).into(), ..syn_v6() },
        ),
        silent("that answers a SYN", Packet { flags: SYN | ACK, ..syn() }),
        silent("without SYN", Packet { flags: ACK, ..syn() }),
        silent("of UDP", Packet { protocol: 17, ..syn() }),
        silent("of UDP over IPv6", Packet { protocol: 17, ..syn_v6() }),
        silent("of no IP version", Packet { version: 5, ..syn() }),
        silent("without a transport header", Packet { has_transport: false, ..syn() }),
    ]
}
