//! Connects that fail before a SYN was sent: no hook of TCP sees them but the system call's return.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use rtnetlink::packet_route::route::RouteType;
use rustix::io::Errno;

use super::expect::{failure, only, only_with_stacks, owned};
use crate::harness::{Actor, Connect, DenyingCgroup, Ended, Json, Lab, Netns, listen};

super::scenarios!["before_syn":
    no_route_to_an_ipv4_peer,
    no_route_to_an_ipv6_peer (needs IPV6),
    local_ports_used_up,
    route_that_says_unreachable,
    route_that_says_prohibited,
    route_that_says_nothing,
    ipv6_route_that_says_prohibited (needs IPV6),
    policy_of_the_cgroup,
    no_route_after_a_socket_that_was_closed_while_it_waited,
];

fn no_route_to_an_ipv4_peer(lab: &Lab) -> Result<()> {
    no_route(lab, "198.51.100.1:443")
}

fn no_route_to_an_ipv6_peer(lab: &Lab) -> Result<()> {
    no_route(lab, "[2001:db8:1::1]:443")
}

fn no_route(lab: &Lab, peer: &str) -> Result<()> {
    refused_at_home(lab, &Netns::new()?, peer.parse()?, "no_route", (Errno::NETUNREACH, "ENETUNREACH"))
}

fn route_that_says_unreachable(lab: &Lab) -> Result<()> {
    forbidden(lab, FORBIDDEN, RouteType::Unreachable, "no_route", (Errno::HOSTUNREACH, "EHOSTUNREACH"))
}

fn route_that_says_prohibited(lab: &Lab) -> Result<()> {
    forbidden(lab, FORBIDDEN, RouteType::Prohibit, "denied", (Errno::ACCESS, "EACCES"))
}

/// A `blackhole` route: the caller gets EINVAL, which is no error of its own making.
fn route_that_says_nothing(lab: &Lab) -> Result<()> {
    forbidden(lab, FORBIDDEN, RouteType::BlackHole, "other", (Errno::INVAL, "EINVAL"))
}

fn ipv6_route_that_says_prohibited(lab: &Lab) -> Result<()> {
    forbidden(lab, "[2001:db8:1::1]:443", RouteType::Prohibit, "denied", (Errno::ACCESS, "EACCES"))
}

const FORBIDDEN: &str = "198.51.100.1:443";

fn forbidden(lab: &Lab, peer: &str, kind: RouteType, cause: &str, error: (Errno, &str)) -> Result<()> {
    let netns = Netns::new()?;
    let peer: SocketAddr = peer.parse()?;
    netns.forbid(peer.ip(), kind)?;
    refused_at_home(lab, &netns, peer, cause, error)
}

/// connect() fails by itself, and is told once.
fn refused_at_home(
    lab: &Lab,
    netns: &Netns,
    peer: SocketAddr,
    cause: &str,
    (errno, name): (Errno, &str),
) -> Result<()> {
    let mut trace = lab.trace(&only(netns))?;
    let tried = netns.run("before-syn", || Connect::to(peer).run())?;
    ensure!(tried.ended == Ended::Failed(errno), "{peer}: {tried:?}");
    let end = trace.expect("connect.failed")?;
    failure(&end, cause, Some((name, errno.raw_os_error())))?;
    owned(&end, &tried, "before-syn", netns)?;
    end.is("/network/peer/address", peer.ip().to_string())?
        .is("/network/peer/port", peer.port())?
        .is("/network/local/port", 0)?
        .is("/tcp/connect/syn_retransmits", 0)?;
    told_once(&trace.events()?)
}

/// A BPF program on the caller's cgroup says no.
fn policy_of_the_cgroup(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let cgroup = DenyingCgroup::new()?;
    let mut trace = lab.trace(&only_with_stacks(&netns))?;
    let mut actor = Actor::connect_from(cgroup.cgroup(), &netns, "203.0.113.7:22", PATIENCE)?;
    actor.wait()?;
    let end = trace.expect("connect.failed")?;
    failure(&end, "denied", Some(("EPERM", Errno::PERM.raw_os_error())))?;
    end.is("/process/pid", actor.pid())?
        .is("/process/cgroup", cgroup.cgroup().name())?
        .is("/network/peer/address", "203.0.113.7")?
        .is("/network/peer/port", 22)?
        .is("/network/local/port", 0)?;
    told_once(&trace.events()?)
}

/// Longer than anything here waits.
const PATIENCE: Duration = Duration::from_secs(5);

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

/// The kernel gives a new socket the memory of the last one: what was noted of that one must not speak for it.
fn no_route_after_a_socket_that_was_closed_while_it_waited(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_stacks(&netns))?;
    netns.run("reused", || {
        for _ in 0..REUSED {
            Connect::to_address("203.0.113.7:22")?.giving_up_after(Duration::ZERO).run()?;
            Connect::to_address("198.51.100.1:443")?.run()?;
        }
        Ok(())
    })?;
    let state = trace.stop()?;
    state.is("/counters/attempts/failed", 2 * REUSED)?;
    for _ in 0..REUSED {
        failure(&trace.expect("connect.failed")?, "closed_by_app", None)?;
        failure(&trace.expect("connect.failed")?, "no_route", Some(("ENETUNREACH", 101)))?;
    }
    Ok(())
}

const REUSED: u64 = 20;
