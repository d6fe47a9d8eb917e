//! The peer still holds an old connection on the four-tuple of a new attempt, and the other ways to reach
//! ESTABLISHED late or oddly.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::socket::{setsockopt, sockopt::TcpRepair};
use socket2::{Domain, Protocol, Socket, Type};

use super::expect::{only, only_with_starts};
use crate::harness::{Connect, Ended, Lab, Netns, listen, listen_deaf};

super::scenarios!["stale":
    port_of_a_half_open_connection_is_used_again,
    peer_appears_after_the_second_syn,
    socket_that_connects_to_itself,
];

/// A client's host crashes and comes back: its socket vanishes without a FIN, and the port is used again. The
/// server challenges the SYN; our RST gets through and the retransmit right after it succeeds.
fn port_of_a_half_open_connection_is_used_again(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let (local, peer) = netns.run("stale", || {
        let (listener, peer) = listen("127.0.0.1")?;
        let first = TcpStream::connect(peer)?;
        let _held_by_the_server = listener.accept()?;
        let local = first.local_addr()?;
        // A socket under repair is closed without a word to the peer.
        setsockopt(&first, TcpRepair, &1)?;
        drop(first);
        from_port(local)?.connect(&peer.into())?;
        Ok((local, peer))
    })?;
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
