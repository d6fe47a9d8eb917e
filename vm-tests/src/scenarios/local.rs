//! This host itself is in the way: its firewall, its neighbour table, its own listener.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::expect::{counted_retransmits, failure, only, only_with_stacks, owned, refuse, tuple};
use crate::harness::{
    Connect, Ended, Fate, Json, Lab, Netns, Trace, Which, listen_deaf, listen_with_backlog,
};

super::scenarios!["local":
    firewall_that_drops (needs NF_TABLES, DROP_REASONS),
    firewall_that_rejects_with_a_reset (needs NF_TABLES),
    firewall_that_rejects_with_icmp (needs NF_TABLES),
    neighbour_that_does_not_resolve (needs VETH, DROP_REASONS),
    drop_that_has_a_reason (needs DROP_REASONS),
    listener_whose_queue_is_full (needs SOCKET_LISTING),
];

/// [`only_with_stacks`], with what this host dropped.
fn only_with_drops(netns: &Netns) -> Value {
    json!({"filter": {"netns": netns.inode()}, "drops": true, "stacks": false})
}

/// Takes drops apart from what else is told, up to the end of the attempt.
fn drops_and_end(trace: &mut Trace) -> Result<(Vec<Json>, Vec<Json>, Json)> {
    let (before, end) = trace.until("connect.failed")?;
    let (drops, others) = before.into_iter().partition(|event| event.at("/event") == "skb.drop");
    Ok((drops, others, end))
}

/// Since 6.17 the kernel tells that the retransmit did not leave the host either; before, it tells nothing.
fn firewall_that_drops(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    netns.firewall(&[(&[Which::To([203, 0, 113, 7].into())], Fate::Dropped)])?;
    let mut trace = lab.trace(&only_with_drops(&netns))?;
    let connect = Connect::to_address("203.0.113.7:22")?.giving_up_after(Duration::from_millis(1900));
    let tried = netns.run("dropped", || connect.run())?;
    ensure!(tried.ended == Ended::GaveUp, "{tried:?}");
    let (drops, others, end) = drops_and_end(&mut trace)?;
    ensure!(others.is_empty(), "nothing left the host, and yet: {others:?}");
    // Where timers come late, the application's does too, and a second retransmit is dropped before it.
    ensure!((2..=3).contains(&drops.len()), "the SYN and its retransmit were dropped: {drops:?}");
    for drop in &drops {
        drop.is("/tcp/connect/drop_reason", "NETFILTER_DROP")?.is("/attempt", end.at("/attempt").clone())?;
        tuple(drop, &tried, "203.0.113.7:22")?;
    }
    failure(&end, "closed_by_app", None)?;
    ensure!(end.list("/local_drops")?.len() == drops.len(), "{:?}", end.at("/local_drops"));
    end.is("/tcp/connect/syn_retransmits", 0)?;
    owned(&end, &tried, "dropped", &netns)
}

/// Nothing tells it from a reset that the peer sent.
fn firewall_that_rejects_with_a_reset(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    netns.firewall(&[(&[Which::To([127, 0, 0, 9].into())], Fate::RejectedByReset)])?;
    let mut trace = lab.trace(&only_with_stacks(&netns))?;
    let tried = refuse(&netns, "rejected", "127.0.0.9:22")?;
    let end = trace.expect("connect.failed")?;
    failure(&end, "refused", Some(("ECONNREFUSED", 111)))?;
    tuple(&end, &tried, "127.0.0.9:22")?;
    owned(&end, &tried, "rejected", &netns)
}

/// The ICMP error comes back within connect() itself, which holds the socket; the application finds it in
/// SO_ERROR.
fn firewall_that_rejects_with_icmp(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    netns.firewall(&[(&[Which::To([127, 0, 0, 9].into())], Fate::RejectedByIcmp)])?;
    let mut trace = lab.trace(&only(&netns))?;
    let connect = Connect::to_address("127.0.0.9:22")?.giving_up_after(Duration::from_millis(500));
    let tried = netns.run("rejected", || connect.run())?;
    ensure!(tried.ended == Ended::Failed(Errno::HOSTUNREACH), "{tried:?}");
    let end = trace.expect("connect.failed")?;
    failure(&end, "host_unreachable", Some(("EHOSTUNREACH", 113)))?;
    tuple(&end, &tried, "127.0.0.9:22")?;
    owned(&end, &tried, "rejected", &netns)
}

/// The SYN waits in the neighbour's queue; after three ARP requests the kernel gives up and tells the socket.
fn neighbour_that_does_not_resolve(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    netns.wire_to_nobody()?;
    let mut trace = lab.trace(&only_with_drops(&netns))?;
    let tried = netns.run("no-neighbour", || Connect::to_address("192.0.2.7:22")?.run())?;
    ensure!(tried.ended == Ended::Failed(Errno::HOSTUNREACH), "{tried:?}");
    let (drops, retransmits, end) = drops_and_end(&mut trace)?;
    failure(&end, "host_unreachable", Some(("EHOSTUNREACH", 113)))?;
    counted_retransmits(&retransmits, &end)?;
    end.within("/tcp/connect/duration_ms", 2000.0..=6000.0)?;
    tuple(&end, &tried, "192.0.2.7:22")?;
    owned(&end, &tried, "no-neighbour", &netns)?;
    ensure!(!drops.is_empty(), "the SYN in the queue was dropped in the end");
    for drop in drops {
        drop.is("/tcp/connect/drop_reason", "NEIGH_FAILED")?;
    }
    Ok(())
}

/// On the receiving side the packet no longer knows its socket: the attempt's end finds it by its addresses.
fn drop_that_has_a_reason(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_drops(&netns))?;
    let (_deaf, peer) = netns.run("deaf", || listen_deaf("127.0.0.1".parse()?))?;
    let connect = Connect::to(peer).giving_up_after(Duration::from_millis(300));
    let tried = netns.run("unheard", || connect.run())?;
    let (drops, _, end) = drops_and_end(&mut trace)?;
    ensure!(drops.len() == 1, "{drops:?}");
    drops[0].is("/tcp/connect/drop_reason", "SOCKET_FILTER")?;
    tuple(&drops[0], &tried, &peer.to_string())?;
    failure(&end, "closed_by_app", None)?;
    end.is("/local_drops/0/reason", "SOCKET_FILTER")?;
    Ok(())
}

/// One connection waits to be accepted, and that is one more than the backlog of 0: the next SYN is not
/// answered. The kernel frees it as consumed (tcp_rcv_state_process; 6.18), so that no drop is told.
fn listener_whose_queue_is_full(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let (_listener, peer) = netns.run("listener", || listen_with_backlog(0))?;
    let _waiting = netns.run("first", || Ok(TcpStream::connect(peer)?))?;
    let mut trace = lab.trace(&only_with_drops(&netns))?;
    let connect = Connect::to(peer).giving_up_after(Duration::from_millis(1500));
    let tried = netns.run("overflow", || connect.run())?;
    ensure!(tried.ended == Ended::GaveUp, "{tried:?}");
    let (drops, retransmits, end) = drops_and_end(&mut trace)?;
    ensure!((1..=2).contains(&retransmits.len()), "retransmits: {retransmits:?}");
    ensure!(drops.is_empty(), "drops: {drops:?}");
    failure(&end, "closed_by_app", None)?;
    for event in [&retransmits[0], &end] {
        event
            .is("/listener/local/address", "127.0.0.1")?
            .is("/listener/local/port", peer.port())?
            .is("/listener/queued", 1)?
            .is("/listener/backlog", 0)?
            .is("/listener/full", true)?;
        tuple(event, &tried, &peer.to_string())?;
        owned(event, &tried, "overflow", &netns)?;
    }
    Ok(())
}
