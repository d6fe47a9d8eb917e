//! More events than anybody reads: what is lost is counted, and who missed something is told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;

use crate::harness::{Connect, Following, Frame, Json, Lab, Netns, Server, Stream, Trace};

super::scenarios!["storms":
    readers_that_sleep_through_a_storm_are_told_of_the_gap [HEAVY] within BUSY_LIMIT,
];

/// More than the live ring holds.
const CONNECTS: u64 = 80_000;
const LIMIT: Duration = Duration::from_secs(30);
/// A busy machine takes its time for so many connects.
const BUSY_LIMIT: Duration = Duration::from_mins(3);

fn readers_that_sleep_through_a_storm_are_told_of_the_gap(lab: &Lab) -> Result<()> {
    // History would have what has left the ring.
    let server = Server::start_with(lab.binary(), |command| {
        command.args(["--history", "off"]);
    })?;
    let netns = Netns::new()?;
    let mut trace = Trace::start(&server, &json!({"filter": {"netns": netns.inode()}, "stacks": false}))?;
    let path = trace.path("/events?follow=1");
    let lines = Following::open(trace.api(), &path, &[("accept", "application/x-ndjson")])?;
    let peer = SocketAddr::from(([127, 0, 0, 1], 81));
    netns.run("storm", || (0..CONNECTS).try_for_each(|_| Connect::to(peer).run().map(drop)))?;
    trace.counted("failed", CONNECTS)?;
    let state = trace.stop()?;
    let count = |pointer: &str| state.count(&format!("/counters/{pointer}"));
    let (produced, delivered) = (count("produced")?, count("delivered")?);
    ensure!(produced == CONNECTS, "produced {produced} of {CONNECTS}");
    let lost = count("lost/ringbuf")? + count("lost/queue")?;
    ensure!(produced == delivered + lost, "{produced} is not {delivered} and {lost}: {}", state.0);

    for told in [read_stream(&mut trace)?, read_lines(lines)?] {
        ensure!(
            told.sent > 0 && told.missed > 0,
            "the storm was too small for a gap in the middle: {told:?}"
        );
        ensure!((told.seen, told.sent + told.missed) == (delivered, delivered), "{told:?} of {delivered}");
    }

    let expired = trace.api().get(&trace.path("/events?after=1"))?.problem(410)?;
    let oldest = state.count("/events/first_seq")?.to_string();
    ensure!(expired.text("/detail")?.contains(&oldest), "{oldest} is not named: {}", expired.0);
    Ok(())
}

/// What a reader was told, without a hole.
#[derive(Debug, Default)]
struct Told {
    /// The last number that it knows of.
    seen: u64,
    /// Events that came.
    sent: u64,
    /// Events that gaps stood for.
    missed: u64,
}

impl Told {
    fn event(&mut self, event: &Json) -> Result<()> {
        event.is("/seq", self.seen + 1)?;
        (self.seen, self.sent) = (self.seen + 1, self.sent + 1);
        Ok(())
    }

    fn gap(&mut self, gap: &Json) -> Result<()> {
        ensure!(self.sent > 0, "a gap before anything was told: {}", gap.0);
        gap.is("/from", self.seen + 1)?;
        self.seen = gap.count("/to")?;
        self.missed += gap.count("/count")?;
        Ok(())
    }
}

/// Reads the WebSocket to its end.
fn read_stream(trace: &mut Trace) -> Result<Told> {
    let deadline = Instant::now() + LIMIT;
    let mut told = Told::default();
    while let Some(frame) = trace.stream().next_news(deadline)? {
        let message = match frame {
            Frame::Message(message) => message,
            // Too slow: come back with the last number seen.
            Frame::Closed(1013) => {
                let path = trace.path(&format!("/stream?after={}", told.seen));
                *trace.stream() = Stream::open(trace.api(), &path)?;
                trace.stream().expect("hello", deadline)?;
                continue;
            }
            Frame::Closed(code) => bail!("closed with {code} after {told:?}"),
        };
        match message.text("/type")? {
            "events" => message.list("/events")?.iter().try_for_each(|event| told.event(event))?,
            "gap" => told.gap(&message)?,
            _ => {
                message.is("/type", "end")?;
                return Ok(told);
            }
        }
    }
    bail!("no end within {LIMIT:?}, after {told:?}")
}

/// Reads lines to their end.
fn read_lines(mut lines: Following) -> Result<Told> {
    let mut told = Told::default();
    while let Some(line) = lines.read()? {
        match line.json.at("/type").as_str() {
            None => told.event(&line.json)?,
            Some("gap") => told.gap(&line.json)?,
            Some("end") => return Ok(told),
            Some(_) => {}
        }
    }
    bail!("the lines ended without an end, after {told:?}")
}
