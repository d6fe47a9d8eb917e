//! Peers that answer with a reset.

use anyhow::Result;
use rustix::net::ipproto;

use super::expect::{failure, lasted, only, only_with_stacks, only_with_starts, owned, refuse, tuple};
use crate::harness::{Connect, Lab, Netns, listen};

super::scenarios!["refused":
    ipv4_port_without_listener,
    ipv6_port_without_listener (needs IPV6),
    mapped_ipv4_port_without_listener (needs IPV6),
    non_blocking_connect,
    mptcp_socket_is_told_once (needs MPTCP),
    closed_listener_is_no_failure,
];

fn ipv4_port_without_listener(lab: &Lab) -> Result<()> {
    refused_at_once(lab, "127.0.0.1:81")
}

fn ipv6_port_without_listener(lab: &Lab) -> Result<()> {
    refused_at_once(lab, "[::1]:81")
}

fn mapped_ipv4_port_without_listener(lab: &Lab) -> Result<()> {
    refused_at_once(lab, "[::ffff:127.0.0.1]:81")
}

fn refused_at_once(lab: &Lab, peer: &str) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let tried = refuse(&netns, "refused", peer)?;
    let end = trace.expect("connect.failed")?;
    failure(&end, "refused", Some(("ECONNREFUSED", 111)))?;
    end.is("/tcp/connect/syn_retransmits", 0)?;
    lasted(&end, 0.0, &tried)?;
    tuple(&end, &tried, peer)?;
    owned(&end, &tried, "refused", &netns)
}

fn non_blocking_connect(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_stacks(&netns))?;
    let connect = Connect::to_address("127.0.0.1:81")?;
    let patience = std::time::Duration::from_secs(5);
    let tried = netns.run("refused-poll", || connect.giving_up_after(patience).run())?;
    let end = trace.expect("connect.failed")?;
    failure(&end, "refused", Some(("ECONNREFUSED", 111)))?;
    owned(&end, &tried, "refused-poll", &netns)
}

/// An MPTCP socket changes state beside its subflow, and the kernel may fall back to plain TCP.
fn mptcp_socket_is_told_once(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let connect = Connect::to_address("127.0.0.1:81")?.by(ipproto::MPTCP);
    let tried = netns.run("refused-mptcp", || connect.run())?;
    refuse(&netns, "sentinel", "127.0.0.1:82")?;
    let end = trace.expect("connect.failed")?;
    failure(&end, "refused", Some(("ECONNREFUSED", 111)))?;
    owned(&end, &tried, "refused-mptcp", &netns)?;
    trace.expect("connect.failed")?.is("/process/comm", "sentinel")?;
    trace.state()?.is("/counters/attempts/started", 2)?;
    Ok(())
}

fn closed_listener_is_no_failure(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_starts(&netns))?;
    netns.run("listener", || listen("127.0.0.1").map(drop))?;
    refuse(&netns, "sentinel", "127.0.0.1:82")?;
    trace.expect("connect.start")?.is("/process/comm", "sentinel")?;
    trace.expect("connect.failed")?.is("/process/comm", "sentinel")?;
    Ok(())
}
