//! Every filter, asking for what happens and asking for something else, before every hook that evaluates it.

use synscope_tracer::{Family, Filter};

use super::{NETNS, case, close, connect, v4, v4_mapped, v6};
use crate::{
    case::{Case, Step},
    things::{Packet, Socket},
    world,
};

pub(super) fn cases() -> Vec<Case> {
    let singles = filters().into_iter().flat_map(|(name, asked, other)| {
        [
            history(&format!("{name} as asked for"), asked.clone()),
            history(&format!("another {name} than asked for"), other.clone()),
            history(&format!("{name} and its opposite"), both(asked, other)),
        ]
    });
    let families = [("IPv4", Family::Ipv4), ("IPv6", Family::Ipv6)].map(|(name, family)| {
        history(&format!("family {name}"), Filter { family: Some(family), ..Filter::default() })
    });
    let others = [everything(), ports_at_the_edges(), networks_in_networks()];
    singles.chain(families).chain(others).chain(local_ports()).collect()
}

/// The same history for every filter: each family starts, each hook fires; what is told, the reference knows.
fn history(name: &str, filter: Filter) -> Case {
    // Zeros like those of a v4-mapped address, and then something else.
    let nearly_mapped = Socket { peer: "::fffe:192.0.2.7".parse().unwrap(), ..v6() };
    let elsewhere = Socket { netns: 9, peer_port: 81, local_port: 7, ..v4() };
    let by_one_bit = ["0:80:0:0:0:ffff:c000:207", "0:0:0:80:0:ffff:c000:207"]
        .map(|peer| Socket { peer: peer.parse().unwrap(), ..v6() });
    let sockets = [v4(), v6(), v4_mapped(), nearly_mapped, by_one_bit[0], by_one_bit[1], elsewhere];
    let packet = Packet {
        sock: None,
        source: v4().local,
        destination: v4().peer,
        ports: (v4().local_port, v4().peer_port),
        flags: 2,
        protocol: 6,
        version: 4,
        has_transport: true,
        device: Some(NETNS),
    };
    let connects = (0..sockets.len()).map(connect);
    let closes = (0..sockets.len()).map(close);
    let returns = (0..sockets.len()).flat_map(|sock| {
        let peer = sockets[sock];
        // The end of the attempt is asked for once; the second return is a failure of its own.
        [Step::Address(peer.peer, peer.peer_port, 28), Step::Returned(sock, -101), Step::Returned(sock, -101)]
    });
    case(format!("filter: {name}"))
        .with(|options| (options.filter, options.starts) = (filter, true))
        .requests(sockets)
        .packets([
            packet,
            Packet { device: Some(9), ports: (7, 81), ..packet },
            Packet { device: None, ..packet },
            Packet { destination: nearly_mapped.peer, source: v6().local, version: 6, ..packet },
            Packet { destination: by_one_bit[0].peer, source: v6().local, version: 6, ..packet },
            Packet { destination: by_one_bit[1].peer, source: v6().local, version: 6, ..packet },
        ])
        .steps(
            connects
                .chain(closes)
                .chain(returns)
                .chain((0..sockets.len()).map(Step::SynAck))
                .chain((0..6).map(|packet| Step::Drop(packet, 3)))
                .collect::<Vec<_>>(),
        )
        .sockets(sockets)
}

/// Name, a filter that the usual socket of the usual task passes, one that it does not.
fn filters() -> Vec<(&'static str, Filter, Filter)> {
    let task = world::task();
    let none = Filter::default;
    let networks = |text: &str| vec![text.parse().unwrap()];
    vec![
        ("pid", Filter { pids: vec![1, task.tgid], ..none() }, Filter { pids: vec![task.tid], ..none() }),
        ("uid", Filter { uids: vec![task.uid], ..none() }, Filter { uids: vec![task.gid, 1], ..none() }),
        (
            "cgroup",
            Filter { cgroups: vec![task.cgroup], ..none() },
            Filter { cgroups: vec![task.cgroup & 0xffff_ffff], ..none() },
        ),
        (
            "comm",
            Filter { comms: vec!["curl-of-letters".into()], ..none() },
            Filter { comms: vec!["curl-of-letter".into(), "curl".into()], ..none() },
        ),
        ("netns", Filter { netns: vec![NETNS], ..none() }, Filter { netns: vec![9], ..none() }),
        (
            "peer",
            Filter { peers: networks("192.0.2.0/24"), ..none() },
            Filter { peers: networks("2001:db8::/32"), ..none() },
        ),
        (
            "peer port",
            Filter { peer_ports: vec![443..=443], ..none() },
            Filter { peer_ports: vec![80..=82], ..none() },
        ),
        (
            "local port",
            Filter { local_ports: vec![40_000..=40_200], ..none() },
            Filter { local_ports: vec![1..=40_122], ..none() },
        ),
    ]
}

/// A list is an alternative.
fn both(mut one: Filter, other: Filter) -> Filter {
    one.pids.extend(other.pids);
    one.uids.extend(other.uids);
    one.cgroups.extend(other.cgroups);
    one.comms.extend(other.comms);
    one.netns.extend(other.netns);
    one.peers.extend(other.peers);
    one.peer_ports.extend(other.peer_ports);
    one.local_ports.extend(other.local_ports);
    one
}

fn everything() -> Case {
    let all = filters()
        .into_iter()
        .fold(Filter { family: Some(Family::Ipv4), ..Filter::default() }, |all, (_, asked, _)| {
            both(all, asked)
        });
    history("all of them at once", all)
}

/// Words of the port sets hold 64 ports each.
fn ports_at_the_edges() -> Case {
    let edges = [0, 1, 63, 64, 127, 128, 65_472, 65_534, 65_535];
    let sockets = edges.map(|port| Socket { peer_port: port, local_port: port, ..v4() });
    case("filter: ports at the edges of the sets' words")
        .with(|options| {
            options.filter.peer_ports = vec![63..=63, 128..=128, 65_535..=65_535, 0..=0];
            options.filter.local_ports = vec![0..=64, 65_535..=65_535];
        })
        .steps((0..edges.len()).flat_map(|sock| [connect(sock), close(sock)]).collect::<Vec<_>>())
        .sockets(sockets)
}

fn networks_in_networks() -> Case {
    let peers = ["10.0.0.1", "10.1.2.3", "10.1.3.3", "11.0.0.0", "2001:db8::1", "2001:db8:8000::1", "::1"];
    let socket = |peer: &str| {
        let peer = peer.parse().unwrap();
        let sample = if matches!(peer, std::net::IpAddr::V4(_)) { v4() } else { v6() };
        Socket { peer, ..sample }
    };
    case("filter: networks, by every bit of their prefix")
        .with(|options| {
            let networks = ["10.1.2.0/23", "10.0.0.1/32", "2001:db8::/33", "11.0.0.1/32"];
            options.filter.peers = networks.map(|network| network.parse().unwrap()).to_vec();
        })
        .steps((0..peers.len()).flat_map(|sock| [connect(sock), close(sock)]).collect::<Vec<_>>())
        .sockets(peers.map(socket))
}

/// The local port is asked for at whatever is told.
fn local_ports() -> [Case; 2] {
    [(40_123, "as asked for"), (40_122, "another than asked for")].map(|(port, name)| {
        let socket = Socket { local_port: port, ..v6() };
        let packet = Packet { ports: (port, 443), sock: Some(0), ..super::passive::syn() };
        case(format!("filter: the local port of everything that is told, {name}"))
            .sockets([socket])
            .requests([Socket { num: port, ..socket }])
            .packets([packet, Packet { sock: None, ..packet }])
            .with(|options| {
                options.filter.local_ports = vec![40_123..=40_123];
                options.slow = std::time::Duration::ZERO;
            })
            .steps([
                connect(0),
                Step::Retransmit(0, 0),
                Step::Challenge(0),
                Step::Drop(0, 2),
                Step::Drop(1, 2),
                super::establish(0),
                Step::SynAck(0),
                connect(0),
                close(0),
                Step::Returned(0, -101),
                Step::Returned(0, -101),
            ])
    })
}
