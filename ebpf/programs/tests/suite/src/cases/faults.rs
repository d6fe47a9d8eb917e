//! Foreign memory that cannot be read, at each read of each hook: the event is given up and counted, and
//! nothing else changes.

use std::net::IpAddr;

use super::{NETNS, case, close, connect, establish, v4, v6};
use crate::{
    case::{Case, Step},
    things::{Packet, Queued, Socket},
};

/// More reads than any hook makes.
const READS: usize = 48;

pub(super) fn cases() -> Vec<Case> {
    let peer: IpAddr = v6().peer;
    let hooks: [(&str, Vec<Step>, Step); 10] = [
        ("the start", vec![], connect(0)),
        ("the end of a failure", vec![connect(0), Step::Exiting(4, 9)], close(0)),
        ("a success", vec![connect(0), Step::Challenge(0)], establish(0)),
        ("a retransmit", vec![connect(0)], Step::Retransmit(0, 0)),
        ("a challenge", vec![connect(0)], Step::Challenge(0)),
        ("an error report", vec![connect(0)], Step::Report(0)),
        ("a retransmitted SYN-ACK", vec![], Step::SynAck(0)),
        ("a dropped packet of an attempt", vec![connect(0)], Step::Drop(0, 3)),
        ("a dropped packet of nobody", vec![], Step::Drop(1, 3)),
        ("a connect() that returns", vec![Step::Address(peer, 443, 28)], Step::Returned(0, -101)),
    ];
    let hooks = hooks.into_iter().flat_map(|(name, before, step)| at_each_read(name, &before, &step));
    hooks.chain(by_icmp()).collect()
}

/// The end of an attempt that was answered by ICMP.
fn by_icmp() -> impl Iterator<Item = Case> {
    let both = [(v4(), 2), (v6(), 3)].map(|(socket, origin)| {
        let queued = Some(Queued { origin, errno: 113, kind: 3, code: 1, sender: socket.peer });
        (socket, Socket { error: 113, queued, ..socket })
    });
    (0..READS).flat_map(move |nth| {
        both.map(|(socket, answered)| {
            let base = case(format!("read {nth} fails at the end by ICMP of origin {:?}", answered.queued));
            around(base, socket, &[connect(0), Step::Become(0, answered)], nth, &close(0))
        })
    })
}

fn at_each_read(name: &str, before: &[Step], step: &Step) -> Vec<Case> {
    let [sample, other] = [v4(), v6()];
    let owned = |socket: Socket, version: u8| Packet {
        sock: Some(0),
        source: socket.local,
        destination: socket.peer,
        ports: (socket.local_port, socket.peer_port),
        flags: 2,
        protocol: 6,
        version,
        has_transport: true,
        device: Some(NETNS),
    };
    let variants = [(sample, owned(sample, 4)), (other, owned(other, 6))];
    let mut cases = Vec::new();
    for (nth, (socket, packet)) in (0..READS).flat_map(|nth| variants.map(|variant| (nth, variant))) {
        let version = packet.version;
        let plain = case(format!("read {nth} fails at {name}, IPv{version}")).with(|options| {
            (options.stacks, options.starts) = (version == 4, true);
        });
        let filtered =
            case(format!("read {nth} fails at {name}, IPv{version}, with filters")).with(|options| {
                options.filter.netns = vec![NETNS];
                options.filter.peer_ports = vec![400..=500];
                options.filter.peers =
                    ["192.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap()).to_vec();
            });
        let unowned = Packet { sock: None, ..packet };
        cases.extend(
            [plain, filtered].map(|base| around(base, socket, before, nth, step).packets([packet, unowned])),
        );
    }
    cases
}

/// The hook fires once with the fault and once without, and then life goes on.
fn around(base: Case, socket: Socket, before: &[Step], nth: usize, step: &Step) -> Case {
    let after = [Step::FailRead(nth), step.clone(), step.clone(), close(0), connect(0), close(0)];
    base.sockets([socket]).requests([socket]).steps([before, &after].concat())
}
