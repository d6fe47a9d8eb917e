//! Connects that go well.

use anyhow::{Result, ensure};
use serde_json::json;

use super::expect::{only_with_stacks, only_with_starts, owned, refuse, tuple};
use crate::harness::{Connect, Ended, Lab, Netns, Try, listen};

super::scenarios!["healthy":
    quick_connect_is_counted_and_not_told,
    with_starts_start_and_end_are_told,
    slow_ms_of_zero_tells_every_connect,
    two_traces_see_each_its_own,
];

fn connect_well(netns: &Netns) -> Result<Try> {
    netns.run("healthy", || {
        let (_listener, peer) = listen("127.0.0.1")?;
        let tried = Connect::to(peer).run()?;
        ensure!(tried.ended == Ended::Connected, "{tried:?}");
        Ok(tried)
    })
}

fn quick_connect_is_counted_and_not_told(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = lab.trace(&only_with_stacks(&netns))?;
    connect_well(&netns)?;
    let state = trace.counted("established", 1)?;
    state
        .is("/counters/attempts/started", 1)?
        .is("/counters/attempts/quiet", 1)?
        .is("/counters/attempts/failed", 0)?;
    let histogram = state.list("/counters/connect_duration_log2_us")?;
    let total: u64 = histogram.iter().filter_map(|bucket| bucket.0.as_u64()).sum();
    ensure!(total == 1, "the histogram should hold one connect: {histogram:?}");
    let told = trace.events()?;
    ensure!(told.is_empty(), "a healthy connect was told: {told:?}");
    Ok(())
}

fn with_starts_start_and_end_are_told(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_starts(&netns))?;
    let tried = connect_well(&netns)?;
    let start = trace.expect("connect.start")?;
    owned(&start, &tried, "healthy", &netns)?;
    start.lacks("/tcp/connect/cause")?;
    let end = trace.expect("connect.established")?;
    end.is("/attempt", start.at("/attempt").clone())?
        .is("/tcp/connect/syn_retransmits", 0)?
        .lacks("/tcp/connect/cause")?
        .lacks("/error")?;
    owned(&end, &tried, "healthy", &netns)?;
    let peer = format!("127.0.0.1:{}", end.count("/network/peer/port")?);
    tuple(&end, &tried, &peer)
}

fn slow_ms_of_zero_tells_every_connect(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let request = json!({"filter": {"netns": netns.inode()}, "slow_ms": 0, "stacks": false});
    let mut trace = lab.trace(&request)?;
    connect_well(&netns)?;
    trace.expect("connect.established")?.is("/process/comm", "healthy")?;
    Ok(())
}

fn two_traces_see_each_its_own(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let on_port = |port: u16| json!({"filter": {"netns": netns.inode(), "peer_port": port}, "stacks": false});
    let (mut first, mut second) = (lab.trace(&on_port(81))?, lab.trace(&on_port(82))?);
    for port in [82, 81, 82, 81] {
        refuse(&netns, "two-traces", &format!("127.0.0.1:{port}"))?;
    }
    for _ in 0..2 {
        first.expect("connect.failed")?.is("/network/peer/port", 81)?;
        second.expect("connect.failed")?.is("/network/peer/port", 82)?;
    }
    Ok(())
}
