//! The WebSocket itself: greeting, resuming, ending.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::expect::{only, refuse};
use crate::harness::{Frame, Lab, Netns, Stream};

super::scenarios!["streams":
    silent_stream_shows_a_heartbeat_every_five_seconds,
    resumes_after_the_last_event_seen,
    token_travels_as_a_subprotocol,
    stop_ends_the_stream,
    too_large_a_message_is_refused,
    client_that_answers_no_ping_is_disconnected [HEAVY],
];

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn resumes_after_the_last_event_seen(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    for _ in 0..3 {
        refuse(&netns, "resume", "127.0.0.1:81")?;
        trace.expect("connect.failed")?;
    }
    let mut resumed = Stream::open(trace.api(), &trace.path("/stream?after=1"))?;
    resumed.expect("hello", soon())?.is("/first_seq", 1)?.is("/next_seq", 4)?;
    refuse(&netns, "resume", "127.0.0.1:81")?;
    trace.expect("connect.failed")?;
    let mut events = Vec::new();
    while events.len() < 3 {
        events.extend(resumed.expect("events", soon())?.list("/events")?);
    }
    ensure!(events == trace.told()[1..], "resumed with {events:?}");
    Ok(())
}

fn token_travels_as_a_subprotocol(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let trace = lab.trace(&only(&netns))?;
    let token = format!("synscope.token.{}", trace.api().token());
    let opened = Stream::open_with(trace.api(), &trace.path("/stream"), |request| {
        request.with_sub_protocol("synscope.v1").with_sub_protocol(token)
    })?;
    let Ok(mut stream) = opened else { bail!("the token was refused") };
    ensure!(stream.protocol() == Some("synscope.v1"), "selected {:?}", stream.protocol());
    let hello = stream.expect("hello", soon())?;
    ensure!(!hello.at("/epoch").is_null(), "no epoch in {}", hello.0);
    Ok(())
}

fn stop_ends_the_stream(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    refuse(&netns, "stopped", "127.0.0.1:81")?;
    trace.expect("connect.failed")?;
    trace.stop()?;
    let (messages, code) = trace.stream().to_close(soon())?;
    ensure!(code == 1000, "closed with {code}");
    messages.last().context("no end")?.is("/type", "end")?.is("/reason", "requested")?;
    let late = Stream::open(trace.api(), &trace.path("/stream"))?.to_close(soon())?;
    let kinds = late.0.iter().map(|message| message.at("/type").clone());
    let kinds: Vec<_> = kinds.filter(|kind| kind != "heartbeat").collect();
    ensure!(kinds == ["hello", "events", "end"] && late.1 == 1000, "after the end: {late:?}");
    Ok(())
}

fn silent_stream_shows_a_heartbeat_every_five_seconds(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let mut heartbeat = || match trace.stream().next(soon())? {
        Some(Frame::Message(message)) => {
            message.is("/type", "heartbeat")?.is("/counters/produced", 0)?;
            Ok(message)
        }
        other => bail!("expected a heartbeat, got {other:?}"),
    };
    // The first comes at once.
    let (first, second) = (heartbeat()?, heartbeat()?);
    let seconds = (second.number("/time_unix_nano")? - first.number("/time_unix_nano")?) / 1e9;
    ensure!(seconds < 12.0, "{seconds} s between two heartbeats");
    // A counter that changed brings the next one earlier.
    let changed = first.at("/counters") != second.at("/counters");
    ensure!(changed || seconds > 3.0, "{seconds} s between two heartbeats");
    Ok(())
}

fn too_large_a_message_is_refused(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    trace.stream().send("ignored".to_owned())?;
    refuse(&netns, "after-ignored", "127.0.0.1:81")?;
    trace.expect("connect.failed")?;
    trace.stream().send("x".repeat(5 << 10))?;
    match trace.stream().next_news(soon())? {
        Some(Frame::Closed(1009)) => Ok(()),
        other => bail!("expected a close with 1009, got {other:?}"),
    }
}

fn client_that_answers_no_ping_is_disconnected(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    // Who does not read does not answer either; the trace's own stream is read meanwhile, and stays.
    let mut dead = Stream::open(trace.api(), &trace.path("/stream"))?;
    let silence = Instant::now() + Duration::from_secs(34);
    if let Some(news) = trace.stream().next_news(silence)? {
        bail!("the stream that is read got {news:?}");
    }
    // What was sent before, and then the end.
    while let Ok(frame) = dead.next(silence + Duration::from_secs(10)) {
        ensure!(
            matches!(frame, Some(Frame::Message(_))),
            "expected the end of the connection, got {frame:?}"
        );
    }
    refuse(&netns, "alive", "127.0.0.1:81")?;
    trace.expect("connect.failed")?;
    Ok(())
}
