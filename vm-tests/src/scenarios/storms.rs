//! More events than anybody reads: what is lost is counted, and who missed something is told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;

use crate::harness::{Connect, Frame, Json, Lab, Netns, Stream, Trace};

super::scenarios!["storms":
    reader_that_sleeps_through_a_storm_is_told_of_the_gap [HEAVY],
];

/// More than the live ring holds.
const CONNECTS: u64 = 80_000;
const LIMIT: Duration = Duration::from_secs(30);

/// [`CONNECTS`] refused connects, told without stacks.
fn storm(lab: &Lab, netns: &Netns) -> Result<Trace> {
    let trace = lab.trace(&json!({"filter": {"netns": netns.inode()}, "stacks": false}))?;
    let peer = SocketAddr::from(([127, 0, 0, 1], 81));
    netns.run("storm", || (0..CONNECTS).try_for_each(|_| Connect::to(peer).run().map(drop)))?;
    trace.counted("failed", CONNECTS)?;
    trace.stop()?;
    Ok(trace)
}

fn reader_that_sleeps_through_a_storm_is_told_of_the_gap(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = storm(lab, &netns)?;
    let state = trace.state()?;
    let count = |pointer: &str| state.count(&format!("/counters/{pointer}"));
    let (produced, delivered) = (count("produced")?, count("delivered")?);
    ensure!(produced == CONNECTS, "produced {produced} of {CONNECTS}");
    let lost = count("lost/ringbuf")? + count("lost/queue")?;
    ensure!(produced == delivered + lost, "{produced} is not {delivered} and {lost}: {}", state.0);

    let (sent, missed) = read_to_the_end(&mut trace, delivered)?;
    ensure!(missed > 0, "the storm was too small for a gap: {sent} sent");
    ensure!(sent + missed == delivered, "{sent} sent and {missed} missed of {delivered}");

    let expired = trace.api().get(&trace.path("/events?after=1"))?.problem(410)?;
    let oldest = state.count("/events/first_seq")?.to_string();
    ensure!(expired.text("/detail")?.contains(&oldest), "{oldest} is not named: {}", expired.0);
    Ok(())
}

/// Reads the stream to its end: how many events came, and how many a gap stood for, without a hole.
fn read_to_the_end(trace: &mut Trace, last: u64) -> Result<(u64, u64)> {
    let deadline = Instant::now() + LIMIT;
    let (mut sent, mut missed, mut seen) = (0, 0, 0);
    while let Some(frame) = trace.stream().next_news(deadline)? {
        let message = match frame {
            Frame::Message(message) => message,
            // Too slow: come back with the last number seen.
            Frame::Closed(1013) => {
                *trace.stream() = Stream::open(trace.api(), &trace.path(&format!("/stream?after={seen}")))?;
                trace.stream().expect("hello", deadline)?;
                continue;
            }
            Frame::Closed(code) => bail!("closed with {code} after {seen}"),
        };
        match message.text("/type")? {
            "events" => {
                for event in message.list("/events")? {
                    seen = follows(&event, "/seq", seen)?;
                    sent += 1;
                }
            }
            "gap" => {
                follows(&message, "/from", seen)?;
                seen = message.count("/to")?;
                missed += message.count("/count")?;
            }
            _ => {
                message.is("/type", "end")?;
                ensure!(seen == last, "ended after {seen} of {last}");
                return Ok((sent, missed));
            }
        }
    }
    bail!("no end within {LIMIT:?}, after {seen} of {last}")
}

fn follows(message: &Json, pointer: &str, seen: u64) -> Result<u64> {
    message.is(pointer, seen + 1)?;
    Ok(seen + 1)
}
