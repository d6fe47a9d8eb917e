//! Many readers, of which some stall and some come and go.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use vm_tests::harness::{Api, Frame, Json, Lab, Length, Load, Netns, Server, Stream, storm};

use crate::Scale;

const PATIENCE: Duration = Duration::from_mins(1);

/// A trace of a namespace.
fn trace(server: &Server, netns: &Netns) -> Result<String> {
    let request = json!({"filter": {"netns": netns.inode()}, "stacks": false});
    let reply = server.api().post("/api/v1/traces", &request)?;
    reply.expect(201)?;
    Ok(reply.location)
}

pub(crate) fn stalled_readers_are_their_own_problem(lab: &Lab, scale: Scale) -> Result<()> {
    let server = lab.own_server()?;
    let netns = Netns::new()?;
    let path = format!("{}/stream", trace(&server, &netns)?);
    let open = |count: u64| (0..count).map(|_| Stream::open(server.api(), &path)).collect::<Result<Vec<_>>>();
    let stalled = open(scale.of(5, 20))?;
    let mut reading = open(scale.of(20, 180))?;
    let events = scale.of(20_000, 60_000);
    thread::scope(|scope| {
        let read = |stream| scope.spawn(move || read(stream, events));
        let readers: Vec<_> = reading.iter_mut().map(read).collect();
        storm(&netns, "storm", Load::Refused, Length::Times(events))?;
        readers.into_iter().try_for_each(|reader| {
            let (sent, missed) = reader.join().ok().context("a reader panicked")??;
            ensure!(sent + missed == events, "{sent} sent and {missed} missed of {events}");
            Ok(())
        })
    })?;
    // Longer than a full queue is tolerated.
    thread::sleep(Duration::from_secs(6));
    for mut stream in stalled {
        match stream.to_close(Instant::now() + PATIENCE) {
            Ok((_, code)) => ensure!(code == 1013, "a reader that stalled was closed with {code}"),
            // On a starved machine it stalled for longer than the server waits with the close.
            Err(error) => ensure!(format!("{error:#}").contains("broke"), "{error:#}"),
        }
    }
    Ok(())
}

/// Reads up to an event: how many came, and how many gaps stood for.
fn read(stream: &mut Stream, last: u64) -> Result<(u64, u64)> {
    let (mut sent, mut missed) = (0, 0);
    while sent + missed < last {
        let message = next(stream)?;
        match message.text("/type")? {
            "events" => sent += message.list("/events")?.len() as u64,
            "gap" => missed += message.count("/count")?,
            _ => {}
        }
    }
    Ok((sent, missed))
}

fn next(stream: &mut Stream) -> Result<Json> {
    match stream.next(Instant::now() + PATIENCE)? {
        Some(Frame::Message(message)) => Ok(message),
        other => bail!("expected a message, got {other:?}"),
    }
}

pub(crate) fn every_hole_is_told(lab: &Lab, scale: Scale) -> Result<()> {
    let server = lab.own_server()?;
    let netns = Netns::new()?;
    let path = trace(&server, &netns)?;
    let visits = scale.of(60, 1_000);
    let events = visits * 160;
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            (0..visits).try_for_each(|_| {
                storm(&netns, "storm", Load::Refused, Length::Times(160))?;
                thread::sleep(Duration::from_millis(2));
                anyhow::Ok(())
            })
        });
        let mut seen = 0;
        while seen < events {
            seen = visit(server.api(), &path, seen)?;
        }
        load.join().ok().context("the load panicked")?
    })
}

/// Comes back after `seen`, reads some messages and leaves without a word.
fn visit(api: &Api, path: &str, mut seen: u64) -> Result<u64> {
    let mut stream = Stream::open(api, &format!("{path}/stream?after={seen}"))?;
    let mut messages = 1 + seen % 3;
    while messages > 0 {
        let message = next(&mut stream)?;
        match message.text("/type")? {
            "events" => {
                for event in message.list("/events")? {
                    event.is("/seq", seen + 1).context("no duplicate, and no hole that is not told")?;
                    seen += 1;
                }
            }
            "gap" => {
                message.is("/from", seen + 1)?;
                seen = message.count("/to")?;
            }
            "hello" => continue,
            _ => {}
        }
        messages -= 1;
    }
    Ok(seen)
}
