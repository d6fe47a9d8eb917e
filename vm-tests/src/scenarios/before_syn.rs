//! Connects that fail before a SYN was sent: no hook of TCP sees them but the system call's return.

use std::net::TcpStream;

use anyhow::{Result, ensure};
use rustix::io::Errno;

use super::expect::{failure, only};
use crate::harness::{Connect, Ended, Json, Lab, Netns, listen};

super::scenarios!["before_syn":
    no_route_to_an_ipv4_peer,
    no_route_to_an_ipv6_peer (needs IPV6),
    local_ports_used_up,
];

fn no_route_to_an_ipv4_peer(lab: &Lab) -> Result<()> {
    no_route(lab, "198.51.100.1:443")
}

fn no_route_to_an_ipv6_peer(lab: &Lab) -> Result<()> {
    no_route(lab, "[2001:db8:1::1]:443")
}

fn no_route(lab: &Lab, peer: &str) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let tried = netns.run("no-route", || Connect::to_address(peer)?.run())?;
    ensure!(tried.ended == Ended::Failed(Errno::NETUNREACH), "{peer}: {tried:?}");
    let end = trace.expect("connect.failed")?;
    failure(&end, "no_route", Some(("ENETUNREACH", 101)))?;
    let address = peer.parse::<std::net::SocketAddr>()?;
    end.is("/network/peer/address", address.ip().to_string())?
        .is("/network/peer/port", address.port())?
        .is("/network/local/port", 0)?
        .is("/process/tid", tried.tid)?
        .is("/process/comm", "no-route")?
        .is("/tcp/connect/syn_retransmits", 0)?;
    told_once(&trace.events()?)
}

/// The socket was in SYN_SENT for a moment and never had a port; connect()'s own error must not be told again.
fn local_ports_used_up(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let (_listener, peer) = netns.run("listener", || listen("127.0.0.1"))?;
    netns.sysctl("ipv4/ip_local_port_range", "40000 40000")?;
    let mut trace = lab.trace(&only(&netns))?;
    let tried = netns.run("no-port", || {
        let _taken = TcpStream::connect(peer)?;
        Connect::to(peer).run()
    })?;
    ensure!(tried.ended == Ended::Failed(Errno::ADDRNOTAVAIL), "a port was left: {tried:?}");
    let end = trace.expect("connect.failed")?;
    failure(&end, "no_local_port", Some(("EADDRNOTAVAIL", 99)))?;
    end.is("/network/local/port", 0)?.is("/process/tid", tried.tid)?;
    told_once(&trace.events()?)
}

fn told_once(events: &[Json]) -> Result<()> {
    ensure!(events.len() == 1, "told {} times: {events:?}", events.len());
    Ok(())
}
