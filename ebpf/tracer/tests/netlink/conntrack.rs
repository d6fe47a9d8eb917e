//! Tracked and translated connections.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use synscope_tracer::netlink::{
    Asker, Evidence, FourTuple, TcpState,
    conntrack::{self, Entry, Status, Support, Tracking},
};

use crate::{
    Test,
    lab::{Lab, OWN_V4, SILENT_V4, inode, tuple, until},
};

pub(crate) const TESTS: &[Test] = &[
    ("redirected_connection_shows_both_tuples", redirected_connection_shows_both_tuples),
    ("translated_connection_that_is_not_answered", translated_connection_that_is_not_answered),
    ("connection_that_is_tracked_and_not_translated", connection_that_is_tracked_and_not_translated),
    ("twin_in_fin_wait_2_behind_a_redirect", twin_in_fin_wait_2_behind_a_redirect),
    ("namespace_where_nothing_is_tracked", namespace_where_nothing_is_tracked),
    ("support_counts_the_tracked", support_counts_the_tracked),
];

fn entry(asker: &mut Asker, lab: &Lab, tuple: FourTuple) -> Result<Entry> {
    match asker.tracking(lab.netns(), tuple)? {
        Tracking::Entry(entry) => Ok(*entry),
        other => anyhow::bail!("no entry: {other:?}"),
    }
}

fn redirected_connection_shows_both_tuples() -> Result<()> {
    let lab = Lab::new()?;
    lab.redirect(80)?;
    let proxy = lab.listen("127.0.0.1:15001")?;
    let destination: SocketAddr = format!("{OWN_V4}:80").parse()?;
    let client = lab.connect(destination)?;
    let tuple = tuple(&client, destination)?;
    let mut asker = Asker::new();
    let entry = entry(&mut asker, &lab, tuple)?;
    assert_eq!(entry.original, tuple);
    assert_eq!(entry.real_destination(), proxy.local_addr()?);
    assert_eq!(entry.real_source(), client.local_addr()?);
    ensure!(entry.is_translated());
    assert_eq!(entry.state.name(), "ESTABLISHED");
    for bit in [Status::DST_NAT, Status::SEEN_REPLY, Status::ASSURED] {
        ensure!(entry.status.has(bit), "{:?} lacks {bit:?}", entry.status);
    }
    ensure!(!entry.status.has(Status::SRC_NAT), "{:?}", entry.status);
    ensure!(entry.timeout.is_some_and(|timeout| timeout.as_secs() > 60), "{:?}", entry.timeout);
    let from_the_other_end = self::entry(&mut asker, &lab, entry.reply)?;
    assert_eq!(from_the_other_end.original, tuple);
    let unknown = FourTuple { source: "127.0.0.1:1".parse()?, ..tuple };
    assert_eq!(asker.tracking(lab.netns(), unknown)?, Tracking::NoEntry);
    Ok(())
}

fn translated_connection_that_is_not_answered() -> Result<()> {
    let lab = Lab::new()?;
    lab.run("nft add table ip service")?;
    lab.run("nft add chain ip service output { type nat hook output priority -100 ; }")?;
    lab.run(&format!(
        "nft add rule ip service output ip daddr {OWN_V4} tcp dport 80 dnat to {SILENT_V4}:8080"
    ))?;
    let destination: SocketAddr = format!("{OWN_V4}:80").parse()?;
    let client = lab.start_connect(destination)?;
    let entry = entry(&mut Asker::new(), &lab, tuple(&client, destination)?)?;
    assert_eq!(entry.real_destination().to_string(), format!("{SILENT_V4}:8080"));
    assert_eq!(entry.state.name(), "SYN_SENT");
    ensure!(entry.status.has(Status::DST_NAT) && !entry.status.has(Status::SEEN_REPLY), "{:?}", entry.status);
    Ok(())
}

fn connection_that_is_tracked_and_not_translated() -> Result<()> {
    let lab = Lab::new()?;
    lab.run("nft add table inet plain")?;
    lab.run("nft add chain inet plain input { type filter hook input priority 0 ; }")?;
    lab.run("nft add rule inet plain input ct state invalid drop")?;
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = lab.listen(address)?;
        let (client, server) = lab.pair(&listener)?;
        let tuple = tuple(&client, server.local_addr()?)?;
        let entry = entry(&mut Asker::new(), &lab, tuple)?;
        ensure!(!entry.is_translated());
        assert_eq!((entry.original, entry.reply), (tuple, tuple.reversed()));
    }
    Ok(())
}

fn twin_in_fin_wait_2_behind_a_redirect() -> Result<()> {
    let lab = Lab::new()?;
    lab.redirect(80)?;
    let proxy = lab.listen("127.0.0.1:15001")?;
    let destination: SocketAddr = format!("{OWN_V4}:80").parse()?;
    let client = lab.connect(destination)?;
    let (accepted, _) = proxy.accept()?;
    accepted.shutdown(std::net::Shutdown::Write)?;
    let tuple = tuple(&client, destination)?;
    let mut asker = Asker::new();
    let twin = until(
        || asker.twin(lab.netns(), tuple)?.context("no twin"),
        |twin| twin.socket.state == TcpState::FinWait2,
    )?;
    let translated = FourTuple { destination: proxy.local_addr()?, ..tuple };
    assert_eq!(twin.evidence, Evidence::Translated(translated));
    assert_eq!((twin.socket.local, twin.socket.peer), (proxy.local_addr()?, client.local_addr()?));
    assert_eq!(twin.socket.inode, Some(inode(&accepted)?));
    let listener = asker.listener(lab.netns(), translated)?.context("no listener")?;
    assert_eq!(listener.socket.inode, Some(inode(&proxy)?));
    Ok(())
}

fn namespace_where_nothing_is_tracked() -> Result<()> {
    let lab = Lab::new()?;
    let (client, server) = lab.pair(&lab.listen("127.0.0.1:0")?)?;
    let answer = Asker::new().tracking(lab.netns(), tuple(&client, server.local_addr()?)?)?;
    assert_eq!(answer, Tracking::NothingTracked);
    Ok(())
}

fn support_counts_the_tracked() -> Result<()> {
    let lab = Lab::new()?;
    lab.redirect(80)?;
    let _proxy = lab.listen("127.0.0.1:15001")?;
    assert_eq!(lab.inside(|| Ok(conntrack::support()?))?, Support::Ready { tracked: 0 });
    let _client = lab.connect(format!("{OWN_V4}:80").parse()?)?;
    assert_eq!(lab.inside(|| Ok(conntrack::support()?))?, Support::Ready { tracked: 1 });
    Ok(())
}
