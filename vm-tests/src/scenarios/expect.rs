//! Expectations that many scenarios share.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::{Connect, Ended, Json, Netns, Try};

/// Requires the event to name the connecting thread as its owner.
pub(super) fn owned(event: &Json, tried: &Try, comm: &str, netns: &Netns) -> Result<()> {
    event
        .is("/process/pid", std::process::id())?
        .is("/process/tid", tried.tid)?
        .is("/process/comm", comm)?
        .is("/process/user/id", 0)?
        .is("/process/netns", netns.inode())?;
    Ok(())
}

/// Requires the event's four-tuple to be the socket's, with a v4-mapped address shown as IPv4.
pub(super) fn tuple(event: &Json, tried: &Try, peer: &str) -> Result<()> {
    let peer: std::net::SocketAddr = peer.parse()?;
    let (local, shown) = (tried.local.ip().to_canonical(), peer.ip().to_canonical());
    event
        .is("/network/transport", "tcp")?
        .is("/network/type", if shown.is_ipv4() { "ipv4" } else { "ipv6" })?
        .is("/network/peer/address", shown.to_string())?
        .is("/network/peer/port", peer.port())?
        .is("/network/local/address", local.to_string())?
        .is("/network/local/port", tried.local.port())?;
    Ok(())
}

/// Requires the event to tell of at least so many milliseconds, and of no more than the connect took as a whole.
pub(super) fn lasted(event: &Json, at_least: f64, tried: &Try) -> Result<()> {
    let took = tried.took.as_secs_f64() * 1e3;
    event.within("/tcp/connect/duration_ms", at_least..=took + 1.0).map(drop)
}

/// Requires a failed attempt of this cause; without an error there is neither a type nor a number.
pub(super) fn failure(event: &Json, cause: &str, error: Option<(&str, i32)>) -> Result<()> {
    event.is("/event", "connect.failed")?.is("/tcp/connect/cause", cause)?;
    match error {
        Some((name, number)) => {
            event.is("/error/type", name)?.is("/tcp/connect/errno", number)?;
        }
        None => {
            event.lacks("/error/type")?;
        }
    }
    Ok(())
}

/// Requires the retransmits to be numbered from one, and the end to have counted them all.
pub(super) fn counted_retransmits(retransmits: &[Json], end: &Json) -> Result<()> {
    for (index, retransmit) in retransmits.iter().enumerate() {
        retransmit
            .is("/tcp/connect/syn_retransmits", index + 1)?
            .is("/attempt", end.at("/attempt").clone())?
            .lacks("/tcp/connect/cause")?
            .lacks("/error")?;
    }
    end.is("/tcp/connect/syn_retransmits", retransmits.len())?;
    Ok(())
}

/// Makes a connect that is refused at once, as the thread `comm`.
pub(super) fn refuse(netns: &Netns, comm: &str, peer: &str) -> Result<Try> {
    let tried = netns.run(comm, || Connect::to_address(peer)?.run())?;
    let refused = Ended::Failed(rustix::io::Errno::CONNREFUSED);
    ensure!(tried.ended == refused, "{peer} should refuse: {tried:?}");
    Ok(tried)
}

/// A trace request for this namespace alone, without stacks: with them starting and ending a trace takes nearly twice the
/// work, and an emulated machine does little else.
pub(super) fn only(netns: &Netns) -> Value {
    json!({"filter": {"netns": netns.inode()}, "stacks": false})
}

/// [`only`], as it is for who says nothing of stacks: with them. Every subject about how attempts end has a scenario that
/// asks like this, so that each kernel sees what people run.
pub(super) fn only_with_stacks(netns: &Netns) -> Value {
    json!({"filter": {"netns": netns.inode()}})
}

/// [`only`], telling every start and end.
pub(super) fn only_with_starts(netns: &Netns) -> Value {
    json!({"filter": {"netns": netns.inode()}, "starts": true, "stacks": false})
}

/// The request for a trace that has but to run: no network namespace has this number. One of all attempts would be told
/// those of every scenario beside it, storms and all.
pub(super) fn nothing() -> Value {
    json!({"filter": {"netns": 1}, "stacks": false})
}

/// [`nothing`], with the programs of a trace with stacks.
pub(super) fn nothing_with_stacks() -> Value {
    json!({"filter": {"netns": 1}})
}
