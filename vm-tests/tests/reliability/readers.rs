//! Many readers, of which some stall and some come and go.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use vm_tests::harness::{
    Api, Frame, Json, Lab, Length, Load, Netns, Reader, Server, Stream, storm, storm::paced,
};

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
    let path = trace(&server, &netns)?;
    let open = |_| Reader::follow(server.api(), &path, 0);
    let stalled = (0..scale.of(5, 20)).map(open).collect::<Result<Vec<_>>>()?;
    let mut reading = (0..scale.of(20, 180)).map(open).collect::<Result<Vec<_>>>()?;
    let events = scale.of(20_000, 60_000);
    thread::scope(|scope| {
        let read = |reader| scope.spawn(move || Reader::read(reader, events));
        let readers: Vec<_> = reading.iter_mut().map(read).collect();
        storm(&netns, "storm", Load::Refused, Length::Times(events))?;
        readers.into_iter().try_for_each(|reader| {
            let seen = reader.join().ok().context("a reader panicked")??;
            let (sent, missed) = (seen.failures, seen.missed);
            // Nobody can be sent what was lost before there was an event to send.
            let lost = server.api().get(&path)?.expect(200)?.count("/counters/lost/queue")?;
            ensure!(scale == Scale::Long || lost == 0, "{lost} lost of a few");
            ensure!(
                sent + missed + lost == events,
                "{sent} sent, {missed} missed and {lost} lost of {events}"
            );
            Ok(())
        })
    })?;
    // Longer than a full queue is tolerated.
    thread::sleep(Duration::from_secs(6));
    for reader in stalled {
        match reader.into_stream().to_close(Instant::now() + PATIENCE) {
            Ok((_, code)) => ensure!(code == 1013, "a reader that stalled was closed with {code}"),
            // On a starved machine it stalled for longer than the server waits with the close.
            Err(error) => ensure!(format!("{error:#}").contains("broke"), "{error:#}"),
        }
    }
    Ok(())
}

fn next(stream: &mut Stream) -> Result<Json> {
    match stream.next(Instant::now() + PATIENCE)? {
        Some(Frame::Message(message)) => Ok(message),
        other => bail!("expected a message, got {other:?}"),
    }
}

/// Each is sent to every reader.
const PER_SECOND: u32 = 100;
const TIME: Duration = Duration::from_secs(20);
/// Events that fill what the kernel keeps for a connection that is not read.
const FILLING: u64 = 20_000;

/// A machine that others use, too, may be late for as long as a hundredth of a pass; hardly in every pass.
const PASSES: usize = 3;

/// Delays are compared with those of as many readers just before, as the machine has much to do with them alone.
pub(crate) fn stalled_readers_slow_nobody_down(lab: &Lab, scale: Scale) -> Result<()> {
    let (server, netns) = (lab.own_server()?, Netns::new()?);
    let path = trace(&server, &netns)?;
    let (readers, stalled) = (scale.of(20, 180), scale.of(5, 20));
    let mut told = 0;
    for _ in 0..PASSES {
        let alone;
        (told, alone) = p99(&server, &netns, (&path, told), readers)?;
        let open = |_| Reader::follow(server.api(), &path, told);
        let _asleep = (0..stalled).map(open).collect::<Result<Vec<_>>>()?;
        storm(&netns, "fill", Load::Refused, Length::Times(FILLING))?;
        told += FILLING;
        let beside;
        (told, beside) = p99(&server, &netns, (&path, told), readers)?;
        println!("p99 for {readers}: {alone:.1} ms, and {beside:.1} ms beside {stalled} that stall");
        if beside <= 2.0 * alone {
            return Ok(());
        }
    }
    bail!("stalled readers slowed others down, {PASSES} times")
}

/// How many events there are after some time of steady failures, and how late the readers were told of them, but for one
/// in a hundred, in milliseconds.
fn p99(server: &Server, netns: &Netns, (path, told): (&str, u64), readers: u64) -> Result<(u64, f64)> {
    while server.api().get(path)?.expect(200)?.count("/counters/delivered")? < told {
        thread::sleep(Duration::from_millis(50));
    }
    let open = |_| Reader::follow(server.api(), path, told);
    let mut readers = (0..readers).map(open).collect::<Result<Vec<_>>>()?;
    let (count, mut delays) = thread::scope(|scope| {
        // The last burst may end a little early.
        let expected = u64::from(PER_SECOND) * TIME.as_secs() * 99 / 100;
        let read = |reader| scope.spawn(move || Reader::read(reader, expected));
        let reading: Vec<_> = readers.iter_mut().map(read).collect();
        let count = paced(netns, PER_SECOND, TIME)?;
        let mut delays = Vec::new();
        for reader in reading {
            let seen = reader.join().ok().context("a reader panicked")??;
            ensure!(seen.failures >= expected, "only {} of {expected} came", seen.failures);
            delays.extend(seen.delays);
        }
        anyhow::Ok((count, delays))
    })?;
    delays.sort_by(f64::total_cmp);
    let p99 = delays.get(delays.len() * 99 / 100).context("no event")?;
    Ok((told + count, *p99))
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
