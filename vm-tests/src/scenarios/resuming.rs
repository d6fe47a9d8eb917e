//! Readers that come and go, and readers that are slow: nothing twice, and every hole is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::expect::{only, refuse};
use crate::harness::{Connect, Following, Frame, Json, Lab, Netns, Stream, Trace};

super::scenarios!["resuming":
    websocket_that_comes_and_goes,
    lines_that_come_and_go,
    event_source_that_comes_and_goes,
    following_ends_with_the_trace,
    following_a_document_is_refused,
    slow_reader_is_closed_and_costs_nobody_else [HEAVY],
];

/// Events that are read while readers come and go, over a dozen connections: each takes a second or two in an emulated
/// machine with something beside it. `tests/reliability/readers.rs` has a thousand.
const EVENTS: u64 = 150;
const LINES: (&str, &str) = ("accept", "application/x-ndjson");
const EVENT_STREAM: (&str, &str) = ("accept", "text/event-stream");

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// What a reader has seen, over all of its connections.
#[derive(Default)]
struct Seen {
    last: u64,
    events: u64,
    missed: u64,
}

impl Seen {
    /// Takes an event or a gap; anything else passes.
    fn take(&mut self, told: &Json) -> Result<()> {
        if told.at("/seq").is_u64() {
            told.is("/seq", self.last + 1).context("twice, or missing without a word")?;
            (self.last, self.events) = (self.last + 1, self.events + 1);
        } else if *told.at("/type") == "gap" {
            told.is("/from", self.last + 1)?;
            self.last = told.count("/to")?;
            self.missed += told.count("/count")?;
        }
        Ok(())
    }
}

/// Small numbers that look like chance, and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Has `read` connect again and again, each time for as many events as chance says, while they are told.
fn come_and_go(lab: &Lab, read: impl Fn(&Trace, &mut Seen, u64) -> Result<()>) -> Result<()> {
    let netns = Netns::new()?;
    let trace = lab.trace(&only(&netns))?;
    let (mut seen, mut chance, done) = (Seen::default(), Chance(0x5e_ed), AtomicBool::new(false));
    let read_all = thread::scope(|scope| {
        let connects = scope.spawn(|| -> Result<()> {
            // A kernel may miss some (`attempts.missed`), which is not what this is about: there are always more.
            for event in 1.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                refuse(&netns, "resuming", "127.0.0.1:81")?;
                // Readers are sometimes behind, and sometimes wait.
                if event % 50 == 0 || event > EVENTS {
                    thread::sleep(Duration::from_millis(20));
                }
            }
            Ok(())
        });
        let deadline = Instant::now() + Duration::from_secs(50);
        let mut read_some = || {
            ensure!(Instant::now() < deadline, "only {} of {EVENTS} events came", seen.last);
            let count = (1 + chance.below(24)).min(EVENTS - seen.last);
            read(&trace, &mut seen, count)?;
            Ok(seen.last < EVENTS)
        };
        let read_all = loop {
            match read_some() {
                Ok(true) => {}
                ended => break ended.map(drop),
            }
        };
        done.store(true, Ordering::Relaxed);
        connects.join().map_err(|_| anyhow::anyhow!("the connecting thread panicked"))??;
        read_all
    });
    read_all.with_context(|| match trace.state() {
        Ok(state) => format!("the trace counts {}", state.at("/counters")),
        Err(error) => format!("{error:#}"),
    })?;
    ensure!((seen.events, seen.missed) == (EVENTS, 0), "{} came, {} missed", seen.events, seen.missed);
    Ok(())
}

fn websocket_that_comes_and_goes(lab: &Lab) -> Result<()> {
    come_and_go(lab, |trace, seen, count| {
        let until = seen.last + count;
        let mut stream = Stream::open(trace.api(), &trace.path(&format!("/stream?after={}", seen.last)))?;
        stream.expect("hello", soon())?;
        while seen.last < until {
            let Some(Frame::Message(message)) = stream.next_news(soon())? else { bail!("no news") };
            let events =
                if *message.at("/type") == "events" { message.list("/events")? } else { vec![message] };
            // What else came with it is lost on the way.
            let wanted = usize::try_from(until - seen.last)?;
            events.iter().take(wanted).try_for_each(|told| seen.take(told))?;
        }
        Ok(())
    })
}

fn lines_that_come_and_go(lab: &Lab) -> Result<()> {
    come_and_go(lab, |trace, seen, count| {
        let until = seen.last + count;
        let path = trace.path(&format!("/events?follow=1&after={}", seen.last));
        let mut following = Following::open(trace.api(), &path, &[LINES])?;
        while seen.last < until {
            seen.take(&following.read()?.context("ended")?.json)?;
        }
        Ok(())
    })
}

fn event_source_that_comes_and_goes(lab: &Lab) -> Result<()> {
    come_and_go(lab, |trace, seen, count| {
        let until = seen.last + count;
        let last = seen.last.to_string();
        // As an EventSource does it: the same URL each time, and where it was in a header.
        let headers = [EVENT_STREAM, ("last-event-id", last.as_str())];
        let headers = if seen.last == 0 { &headers[..1] } else { &headers[..] };
        let mut following = Following::open(trace.api(), &trace.path("/events?after=0"), headers)?;
        while seen.last < until {
            let told = following.read()?.context("ended")?;
            seen.take(&told.json)?;
            ensure!(told.id.is_none_or(|id| id == seen.last), "{told:?}");
            ensure!(told.id.is_some() || told.json.at("/seq").is_null(), "an event without id: {told:?}");
        }
        Ok(())
    })
}

fn following_ends_with_the_trace(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let path = trace.path("/events?follow=1");
    let mut lines = Following::open(trace.api(), &path, &[LINES])?;
    let mut stream = Following::open(trace.api(), &path, &[EVENT_STREAM])?;
    for _ in 0..2 {
        refuse(&netns, "followed", "127.0.0.1:81")?;
        trace.expect("connect.failed")?;
    }
    // No more than was asked for.
    let mut one = Following::open(trace.api(), &trace.path("/events?follow=1&limit=1"), &[LINES])?;
    let first = one.read()?.context("nothing")?.json;
    ensure!(first == trace.told()[0] && one.read()?.is_none(), "{first:?}");
    trace.stop()?;
    for following in [&mut lines, &mut stream] {
        let (mut events, mut last) = (Vec::new(), None);
        while let Some(told) = following.read()? {
            if told.json.at("/seq").is_u64() {
                events.push(told.json.clone());
            }
            last = Some(told.json);
        }
        ensure!(events == trace.told(), "{events:?}");
        last.context("nothing")?.is("/type", "end")?.is("/reason", "requested")?;
    }
    // An EventSource would come back for ever.
    let again = [EVENT_STREAM, ("last-event-id", "2")];
    ensure!(trace.api().send("GET", &path, &again, None)?.status == 204, "told to come again");
    Ok(())
}

fn following_a_document_is_refused(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = lab.trace(&only(&netns))?;
    trace.api().get(&trace.path("/events?follow=1"))?.problem(400)?.is("/field", "follow")?;
    trace.api().get(&trace.path("/events?follow=yes"))?.problem(400)?.is("/field", "follow")?;
    let wrong = [EVENT_STREAM, ("last-event-id", "x")];
    let problem = trace.api().send("GET", &trace.path("/events"), &wrong, None)?.problem(400)?;
    problem.is("/field", "Last-Event-ID")?;
    Ok(())
}

fn slow_reader_is_closed_and_costs_nobody_else(lab: &Lab) -> Result<()> {
    /// Some 9 MB: more than is queued for a reader and in the socket's buffers.
    const STORM: u64 = 10_000;
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let mut slow = Stream::open(trace.api(), &trace.path("/stream"))?;
    let peer = SocketAddr::from(([127, 0, 0, 1], 81));
    netns.run("storm", || (0..STORM).try_for_each(|_| Connect::to(peer).run().map(drop)))?;
    for _ in 0..STORM {
        trace.expect("connect.failed")?;
    }
    // Longer than a full queue is tolerated.
    thread::sleep(Duration::from_secs(6));
    let (messages, code) = slow.to_close(soon())?;
    ensure!(code == 1013, "closed with {code}");
    let mut seen = Seen::default();
    let take = |message: &Json, seen: &mut Seen| -> Result<()> {
        if *message.at("/type") == "events" {
            return message.list("/events")?.iter().try_for_each(|event| seen.take(event));
        }
        seen.take(message)
    };
    messages.iter().try_for_each(|message| take(message, &mut seen))?;
    ensure!((1..STORM).contains(&seen.last), "{} of {STORM} came before the close", seen.last);
    let mut again = Stream::open(trace.api(), &trace.path(&format!("/stream?after={}", seen.last)))?;
    while seen.last < STORM {
        let Some(Frame::Message(message)) = again.next(soon())? else { bail!("no more after {}", seen.last) };
        take(&message, &mut seen)?;
    }
    ensure!(seen.events == STORM && seen.missed == 0, "{} came, {} missed", seen.events, seen.missed);
    Ok(())
}
