//! Peers that never answer.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::io::Errno;

use super::expect::{counted_retransmits, failure, lasted, only, only_with_stacks, owned, tuple};
use crate::harness::{Connect, Ended, Json, Lab, Netns, OWN_V6, listen_deaf};

super::scenarios!["silent":
    ipv4_peer_until_the_kernel_times_out,
    ipv6_peer_until_the_kernel_times_out (needs IPV6),
    ipv4_peer_until_the_applications_deadline,
    ipv6_peer_until_the_applications_deadline (needs IPV6),
    mapped_ipv4_peer_until_the_applications_deadline (needs IPV6),
    ipv4_peer_tells_which_code_asked,
];

/// Past the first SYN retransmit at one second; whether a second fits depends on the kernel.
const DEADLINE: Duration = Duration::from_millis(2500);

fn ipv4_peer_until_the_applications_deadline(lab: &Lab) -> Result<()> {
    until_the_deadline(lab, &Netns::new()?, "203.0.113.7:22")
}

fn ipv6_peer_until_the_applications_deadline(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let (_deaf, peer) = netns.run("deaf", || listen_deaf(OWN_V6.into()))?;
    until_the_deadline(lab, &netns, &peer.to_string())
}

fn mapped_ipv4_peer_until_the_applications_deadline(lab: &Lab) -> Result<()> {
    until_the_deadline(lab, &Netns::new()?, "[::ffff:203.0.113.7]:22")
}

fn ipv4_peer_until_the_kernel_times_out(lab: &Lab) -> Result<()> {
    until_the_kernel_gives_up(lab, &Netns::new()?, "203.0.113.7:22")
}

fn ipv6_peer_until_the_kernel_times_out(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let (_deaf, peer) = netns.run("deaf", || listen_deaf(OWN_V6.into()))?;
    until_the_kernel_gives_up(lab, &netns, &peer.to_string())
}

fn until_the_deadline(lab: &Lab, netns: &Netns, peer: &str) -> Result<()> {
    let mut trace = lab.trace(&only(netns))?;
    let connect = Connect::to_address(peer)?.giving_up_after(DEADLINE);
    let tried = netns.run("silent-deadline", || connect.run())?;
    ensure!(tried.ended == Ended::GaveUp, "{peer} should stay silent: {tried:?}");
    let (retransmits, end) = trace.expect_end("connect.failed")?;
    ensure!((1..=2).contains(&retransmits.len()), "retransmits: {retransmits:?}");
    retransmits[0].within("/tcp/connect/duration_ms", 900.0..=2400.0)?;
    counted_retransmits(&retransmits, &end)?;
    failure(&end, "closed_by_app", None)?;
    end.within("/tcp/connect/duration_ms", 2450.0..=4900.0)?
        .is("/tcp/connect/stale_peer", false)?
        .is("/tcp/connect/challenges", 0)?;
    for event in retransmits.iter().chain([&end]) {
        tuple(event, &tried, peer)?;
        owned(event, &tried, "silent-deadline", netns)?;
    }
    Ok(())
}

/// How many retransmits that takes is the kernel's business: linear timeouts (since 6.5) add some.
fn until_the_kernel_gives_up(lab: &Lab, netns: &Netns, peer: &str) -> Result<()> {
    netns.sysctl("ipv4/tcp_syn_retries", "1")?;
    let mut trace = lab.trace(&only(netns))?;
    let tried = netns.run("silent-timeout", || Connect::to_address(peer)?.run())?;
    ensure!(tried.ended == Ended::Failed(Errno::TIMEDOUT), "should time out: {tried:?}");
    let (retransmits, end) = trace.expect_end("connect.failed")?;
    ensure!((1..=6).contains(&retransmits.len()), "retransmits: {retransmits:?}");
    counted_retransmits(&retransmits, &end)?;
    failure(&end, "timeout", Some(("ETIMEDOUT", 110)))?;
    lasted(&end, 2900.0, &tried)?;
    for event in retransmits.iter().chain([&end]) {
        tuple(event, &tried, peer)?;
        owned(event, &tried, "silent-timeout", netns)?;
    }
    Ok(())
}

fn ipv4_peer_tells_which_code_asked(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_stacks(&netns))?;
    let connect = Connect::to_address("203.0.113.7:22")?.giving_up_after(Duration::from_millis(50));
    netns.run("silent-stack", || connect.run())?;
    let end = trace.expect("connect.failed")?;
    let user = end.list("/stack/user")?;
    let program = std::env::current_exe()?;
    ensure!(
        user.first().is_some_and(|frame| frame
            .text("/module")
            .is_ok_and(|module| { std::path::Path::new(module).file_name() == program.file_name() })),
        "the user stack should begin in {}: {user:?}",
        program.display()
    );
    let closing = |frame: &Json| frame.text("/function").is_ok_and(|name| name.contains("tcp_"));
    let kernel = end.list("/stack/kernel")?;
    ensure!(kernel.iter().any(closing), "the kernel stack should pass through TCP: {kernel:?}");
    Ok(())
}
