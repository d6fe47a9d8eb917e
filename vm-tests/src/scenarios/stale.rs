//! The peer still holds an old connection on the four-tuple of a new attempt, and the other ways to reach
//! ESTABLISHED late or oddly.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt::TcpRepair};
use socket2::{Domain, Protocol, Socket, Type};

use super::expect::{failure, only, only_with_stacks, only_with_starts, owned, tuple};
use crate::harness::{Connect, Ended, Fate, Lab, Netns, Which, eventually, listen, listen_deaf};

super::scenarios!["stale":
    port_of_a_half_open_connection_is_used_again,
    peer_appears_after_the_second_syn,
    socket_that_connects_to_itself,
    two_sockets_that_connect_to_each_other,
    half_closed_twin_behind_a_redirect (needs NF_TABLES),
];

/// A client's host crashes and comes back: its socket vanishes without a FIN, and the port is used again. The
/// server challenges the SYN; our RST gets through and the retransmit right after it succeeds.
fn port_of_a_half_open_connection_is_used_again(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_stacks(&netns))?;
    let (local, peer) = netns.run("stale", challenged_once)?;
    let challenge = trace.expect("connect.challenge")?;
    challenge.is("/tcp/connect/stale_peer", true)?.is("/tcp/connect/challenges", 1)?;
    challenge.is("/network/local/port", local.port())?.is("/network/peer/port", peer.port())?;
    let (retransmits, end) = trace.expect_end("connect.established")?;
    ensure!(retransmits.len() == 1, "retransmits: {retransmits:?}");
    end.is("/tcp/connect/stale_peer", true)?
        .is("/tcp/connect/challenges", 1)?
        .is("/attempt", challenge.at("/attempt").clone())?
        .lacks("/tcp/connect/cause")?;
    Ok(())
}

/// A connect that is challenged once and then succeeds; returns both its ends.
pub(super) fn challenged_once() -> Result<(SocketAddr, SocketAddr)> {
    let (listener, peer) = listen("127.0.0.1")?;
    let first = TcpStream::connect(peer)?;
    let _held_by_the_server = listener.accept()?;
    let local = vanish(first)?;
    from_port(local)?.connect(&peer.into())?;
    Ok((local, peer))
}

/// Closes a connection without a word to the peer, and returns its address here.
fn vanish(connection: TcpStream) -> Result<SocketAddr> {
    let local = connection.local_addr()?;
    // That is how a socket under repair is closed.
    setsockopt(&connection, TcpRepair, &1)?;
    drop(connection);
    let is_it = |socket: &Listed| socket.local_port == local.port();
    let gone = eventually(INHERITED, || Ok((!is_listed(is_it)?).then_some(())))?;
    gone.context("the connection did not vanish")?;
    Ok(local)
}

/// A process that another scenario starts has what is open here as well, until it runs its own program.
const INHERITED: Duration = Duration::from_secs(10);

fn from_port(local: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&local.into())?;
    Ok(socket)
}

fn peer_appears_after_the_second_syn(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let tried = netns.run("late-peer", || {
        let (deaf, peer) = listen_deaf("127.0.0.1".parse()?)?;
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(1500));
                deaf.detach_filter()
            });
            Connect::to(peer).giving_up_after(Duration::from_secs(10)).run()
        })
    })?;
    ensure!(tried.ended == Ended::Connected, "the peer should answer in the end: {tried:?}");
    let (retransmits, end) = trace.expect_end("connect.established")?;
    ensure!((1..=2).contains(&(retransmits.len() - 1)), "retransmits: {retransmits:?}");
    end.is("/tcp/connect/syn_retransmits", retransmits.len())?
        .lacks("/error")?
        .lacks("/tcp/connect/cause")?;
    end.within("/tcp/connect/duration_ms", 1500.0..=4500.0)?;
    Ok(())
}

/// SYN_SENT → SYN_RECV → ESTABLISHED, all on one socket.
fn socket_that_connects_to_itself(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_starts(&netns))?;
    let own = netns.run("self", || {
        let socket = from_port("127.0.0.1:41000".parse()?)?;
        let own: SocketAddr = "127.0.0.1:41000".parse()?;
        socket.connect(&own.into())?;
        Ok(own)
    })?;
    trace.expect("connect.start")?;
    let end = trace.expect("connect.established")?;
    end.is("/network/local/port", own.port())?.is("/network/peer/port", own.port())?;
    Ok(())
}

/// SYNs that cross. The first one is lost, at a listener that hears nothing; then the other side's comes, and
/// brings SYN_SENT → SYN_RECV on the one socket and SYN_SENT → ESTABLISHED on the other.
fn two_sockets_that_connect_to_each_other(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_starts(&netns))?;
    let (one, other) = netns.run("crossing", || {
        let (deaf, other) = listen_deaf("127.0.0.1".parse()?)?;
        let one = SocketAddr::from(([127, 0, 0, 1], 41001));
        let first = from_port(one)?;
        first.set_nonblocking(true)?;
        ensure!(first.connect(&other.into()).is_err(), "the listener should be deaf");
        drop(deaf);
        let second = eventually(INHERITED, || match from_port(other) {
            Err(error) if is_in_use(&error) => Ok(None),
            bound => bound.map(Some),
        })?;
        second.context("the listener is still there")?.connect(&one.into())?;
        ensure!(first.take_error()?.is_none(), "the first socket saw an error");
        ensure!(first.peer_addr()?.as_socket() == Some(other), "the first socket is not connected");
        Ok((one, other))
    })?;
    for to in [other, one] {
        trace.expect("connect.start")?.is("/network/peer/port", to.port())?;
    }
    for (from, to) in [(one, other), (other, one)] {
        let end = trace.expect("connect.established")?;
        end.is("/network/local/port", from.port())?
            .is("/network/peer/port", to.port())?
            .is("/process/comm", "crossing")?
            .is("/tcp/connect/syn_retransmits", 0)?;
    }
    trace.state()?.is("/counters/attempts/established", 2)?.is("/counters/attempts/started", 2)?;
    Ok(())
}

/// Connections to port 80 of a service go to the proxy, and the application's resets never arrive.
const MESH: &[(&[Which], Fate)] = &[
    (&[Which::To(Ipv4Addr::new(203, 0, 113, 7)), Which::Port(80)], Fate::RedirectedTo(15001)),
    (&[Which::Reset, Which::Port(15001)], Fate::Dropped),
];

/// As in a sidecar mesh. The proxy has closed its half of an old connection whose client is gone, the host has
/// forgotten the translation, and the port is used again: every SYN is challenged.
fn half_closed_twin_behind_a_redirect(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    netns.firewall(MESH)?;
    for state in ["fin_wait", "close_wait"] {
        netns.sysctl(&format!("netfilter/nf_conntrack_tcp_timeout_{state}"), "1")?;
    }
    let mut trace = lab.trace(&only(&netns))?;
    let service = SocketAddr::from(([203, 0, 113, 7], 80));
    let (local, _twin) = netns.run("mesh", || half_close(service, "127.0.0.1:15001"))?;
    thread::sleep(Duration::from_millis(1500));
    let patience = Duration::from_millis(1500);
    let tried = netns.run("mesh", || Connect::to(service).from(local).giving_up_after(patience).run())?;
    ensure!(tried.ended == Ended::GaveUp, "{tried:?}");
    let (events, end) = trace.until("connect.failed")?;
    let of = |kind: &str| events.iter().filter(|event| event.at("/event") == kind).count();
    let (challenges, retransmits) = (of("connect.challenge"), of("connect.retransmit"));
    ensure!((1..=3).contains(&challenges) && (1..=4).contains(&retransmits), "{events:?}");
    failure(&end, "closed_by_app", None)?;
    tuple(&end, &tried, "203.0.113.7:80")?;
    owned(&end, &tried, "mesh", &netns)?;
    end.is("/tcp/connect/stale_peer", true)?
        .is("/tcp/connect/challenges", challenges)?
        .is("/tcp/connect/syn_retransmits", retransmits)?
        .is("/nat/peer/address", "127.0.0.1")?
        .is("/nat/peer/port", 15001)?
        .is("/twin/state", "FIN-WAIT-2")?
        .is("/twin/evidence", "translated")?
        .is("/twin/local/address", "127.0.0.1")?
        .is("/twin/local/port", 15001)?
        .is("/twin/peer/address", local.ip().to_string())?
        .is("/twin/peer/port", local.port())?;
    Ok(())
}

/// A connection of which only the accepted end is left, in FIN-WAIT-2; returns the other end's old address.
pub(crate) fn half_close(service: SocketAddr, proxy: &str) -> Result<(SocketAddr, TcpStream)> {
    let proxy = TcpListener::bind(proxy)?;
    let client = TcpStream::connect(service)?;
    let local = client.local_addr()?;
    let (accepted, _) = proxy.accept()?;
    accepted.shutdown(Shutdown::Write)?;
    let acknowledged = eventually(INHERITED, || {
        let halves = |socket: &Listed| socket.peer_port == local.port() && socket.state == FIN_WAIT_2;
        Ok(is_listed(halves)?.then_some(()))
    })?;
    acknowledged.context("the proxy's FIN was not acknowledged")?;
    Ok((vanish(client)?, accepted))
}

fn is_in_use(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// A socket in the kernel's own list.
struct Listed {
    local_port: u16,
    peer_port: u16,
    state: u8,
}

/// Of `include/net/tcp_states.h` (6.18).
const FIN_WAIT_2: u8 = 5;

/// Whether this is true of a socket of this namespace.
fn is_listed(is_it: impl Fn(&Listed) -> bool) -> Result<bool> {
    let sockets = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
    Ok(sockets.lines().filter_map(listed).any(|socket| is_it(&socket)))
}

/// `   0: 0100007F:0050 00000000:0000 0A …`: addresses with ports, and the state.
fn listed(line: &str) -> Option<Listed> {
    let mut fields = line.split_whitespace().skip(1);
    let mut port = || u16::from_str_radix(fields.next()?.rsplit_once(':')?.1, 16).ok();
    let (local_port, peer_port) = (port()?, port()?);
    Some(Listed { local_port, peer_port, state: u8::from_str_radix(fields.next()?, 16).ok()? })
}
