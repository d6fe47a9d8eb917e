//! What is kept of traces when the server ends or dies, what leaves it as a file, and what comes back.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::expect::{only, refuse};
use crate::harness::{Json, Lab, Length, Load, Netns, Server, Stream, Trace, eventually, storm};

super::scenarios!["history":
    restarted_server_tells_what_it_told,
    killed_server_leaves_an_interrupted_trace,
    deleted_trace_stays_away,
    second_server_in_one_directory_keeps_to_memory,
    history_that_is_off_says_so,
    export_comes_back_as_the_same_bytes,
    line_that_is_no_event_is_named,
    attempts_become_a_table_and_a_chrome_trace,
    armed_trace_keeps_what_is_around_the_first_match,
    recording_that_reaches_back_less_far_says_so [HEAVY],
    recorder_without_a_history_is_refused,
];

pub(super) const LIMIT: Duration = Duration::from_secs(20);
pub(super) const TOKEN: &str = "history-scenario-token";

/// A data directory that outlives its servers.
pub(super) fn data() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("synscope-data-").tempdir()?)
}

pub(super) fn start(lab: &Lab, data: &Path) -> Result<Server> {
    // The token file may not be writable, and is not what this is about.
    Server::start_in(data, lab.binary(), |command| {
        command.env("SYNSCOPE_TOKEN", TOKEN);
    })
}

/// A trace that has told this many refused connects, and its events.
pub(super) fn told(server: &Server, netns: &Netns, connects: usize) -> Result<(String, Vec<Json>)> {
    let mut trace = Trace::start(server, &only(netns))?;
    // Of those that a kernel missed there are more.
    loop {
        let produced = usize::try_from(trace.state()?.count("/counters/produced")?)?;
        if produced >= connects {
            break;
        }
        (produced..connects).try_for_each(|_| refuse(netns, "history", "127.0.0.1:81").map(drop))?;
    }
    for _ in 0..connects {
        trace.expect("connect.failed")?;
    }
    let (path, events) = (trace.path(""), trace.told().to_vec());
    trace.leave();
    Ok((path, events))
}

pub(super) fn end(mut server: Server, signal: Signal) -> Result<String> {
    server.signal(signal)?;
    server.wait(LIMIT)?;
    Ok(server.log())
}

pub(super) fn events(server: &Server, path: &str) -> Result<Vec<Json>> {
    server.api().get(&format!("{path}/events?limit=1000"))?.expect(200)?.list("/events")
}

pub(super) fn history(server: &Server) -> Result<Json> {
    Ok(Json(server.api().get("/api/v1/capabilities")?.expect(200)?.at("/history").clone()))
}

/// Whether history is in this state, by the figures: a server that is asked what this host can do examines it first, which
/// takes longer than starting it.
pub(super) fn is_in(server: &Server, state: &str) -> Result<bool> {
    let figures = server.api().get("/metrics")?.body;
    let is_shown =
        |value: char| figures.contains(&format!("synscope_history_state{{state=\"{state}\"}} {value}"));
    ensure!(is_shown('0') || is_shown('1'), "no state {state:?} in {figures}");
    Ok(is_shown('1'))
}

/// Waits until history is in this state.
pub(super) fn until(server: &Server, state: &str) -> Result<()> {
    let is_there = eventually(LIMIT, || Ok(is_in(server, state)?.then_some(())))?;
    is_there.with_context(|| format!("never {state}: {:?}; log:\n{}", history(server), server.log()))
}

/// Waits until history is in this state, and returns what is said of it.
pub(super) fn told_until(server: &Server, state: &str) -> Result<Json> {
    let deadline = Instant::now() + LIMIT;
    loop {
        until(server, state)?;
        let history = history(server)?;
        // It may be another by now.
        if history.is("/state", state).is_ok() {
            return Ok(history);
        }
        ensure!(Instant::now() < deadline, "not {state} for long: {}", history.0);
    }
}

fn restarted_server_tells_what_it_told(lab: &Lab) -> Result<()> {
    let (netns, data) = (Netns::new()?, data()?);
    let server = start(lab, data.path())?;
    let (path, told) = told(&server, &netns, 3)?;
    let attempts = server.api().get(&format!("{path}/attempts"))?.body;
    let before = server.api().get(&path)?.expect(200)?;
    end(server, Signal::TERM)?;

    let server = start(lab, data.path())?;
    let after = server.api().get(&path)?.expect(200)?;
    after.is("/state", "stopped")?.is("/end_reason", "shutdown")?;
    for member in ["/id", "/created_unix_nano", "/filter", "/events", "/counters/delivered"] {
        after.is(member, before.at(member).clone())?;
    }
    let listed = server.api().get("/api/v1/traces")?.expect(200)?.list("/traces")?;
    ensure!(listed == [after], "listed {listed:?}");
    ensure!(events(&server, &path)? == told, "other events than were told");
    let kept = server.api().get(&format!("{path}/attempts"))?.body;
    ensure!(kept == attempts, "attempts were\n{attempts}\nand are\n{kept}");
    let one = server.api().get(&format!("{path}/attempts?filter=cause%3Drefused+port%3D81&limit=1"))?;
    one.expect(200)?.is("/attempts/0/last_seq", 3)?.is("/next_before", 3)?;
    let none = server.api().get(&format!("{path}/attempts?filter=cause%3Dtimeout"))?.expect(200)?;
    ensure!(none.list("/attempts")?.is_empty(), "{}", none.0);

    let (messages, code) =
        Stream::open(server.api(), &format!("{path}/stream"))?.to_close(Instant::now() + LIMIT)?;
    let streamed: Vec<_> = messages.iter().filter_map(|it| it.list("/events").ok()).flatten().collect();
    ensure!(code == 1000 && streamed == told, "the stream of a kept trace: {messages:?}, {code}");
    Ok(())
}

fn killed_server_leaves_an_interrupted_trace(lab: &Lab) -> Result<()> {
    let (netns, data) = (Netns::new()?, data()?);
    let server = start(lab, data.path())?;
    let (path, told) = told(&server, &netns, 3)?;
    // What was told is committed within 200 ms; an emulated machine may take longer.
    thread::sleep(Duration::from_secs(2));
    end(server, Signal::KILL)?;

    let server = start(lab, data.path())?;
    ensure!(server.log().contains("ran when the server died"), "{}", server.log());
    let trace = server.api().get(&path)?.expect(200)?;
    trace.is("/state", "interrupted")?.is("/end_reason", "interrupted")?;
    ensure!(events(&server, &path)? == told, "other events than were told");
    Ok(())
}

fn deleted_trace_stays_away(lab: &Lab) -> Result<()> {
    let (netns, data) = (Netns::new()?, data()?);
    let server = start(lab, data.path())?;
    let (path, _) = told(&server, &netns, 1)?;
    ensure!(server.api().delete(&path)?.status == 204, "not deleted");
    server.api().get(&path)?.problem(404)?;
    end(server, Signal::TERM)?;
    let server = start(lab, data.path())?;
    server.api().get(&path)?.problem(404)?;
    let listed = server.api().get("/api/v1/traces")?.expect(200)?;
    ensure!(listed.list("/traces")?.is_empty(), "{}", listed.0);
    Ok(())
}

fn second_server_in_one_directory_keeps_to_memory(lab: &Lab) -> Result<()> {
    let data = data()?;
    let first = start(lab, data.path())?;
    let second = start(lab, data.path())?;
    until(&first, "recording")?;
    let history = told_until(&second, "memory")?;
    ensure!(history.text("/detail")?.contains("another Synscope"), "{}", history.0);
    drop(first);
    Ok(())
}

fn history_that_is_off_says_so(lab: &Lab) -> Result<()> {
    let (netns, data) = (Netns::new()?, data()?);
    let server = Server::start_in(data.path(), lab.binary(), |command: &mut Command| {
        command.args(["--history", "off"]);
    })?;
    until(&server, "off")?;
    let (path, told) = told(&server, &netns, 1)?;
    ensure!(events(&server, &path)? == told, "tracing needs no history");
    ensure!(!data.path().join("history.db").exists(), "a file was written");
    import(&server, "{}")?.problem(503)?;
    Ok(())
}

fn import(server: &Server, file: &str) -> Result<crate::harness::Reply> {
    let kind = [("content-type", "application/x-ndjson")];
    server.api().send("POST", "/api/v1/traces/import?name=imported", &kind, Some(file))
}

fn export_comes_back_as_the_same_bytes(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let server = lab.own_server()?;
    let (path, told) = told(&server, &netns, 5)?;
    let file = server.api().get(&format!("{path}/export"))?.body;
    ensure!(file.lines().count() == told.len(), "{file}");
    // Members that this version does not know, and other ways to write JSON, are no reason to touch a line.
    let file = file.replace("{\"seq\":", "{ \"later\":[1.50,{\"x\":null}], \"seq\": ");
    let imported = import(&server, &file)?.expect(201)?;
    imported.is("/name", "imported")?.is("/state", "stopped")?.is("/end_reason", "imported")?;
    imported.is("/events/next_seq", 6)?.is("/counters/delivered", 5)?;
    let copy = format!("/api/v1/traces/{}", imported.text("/id")?);
    let again = server.api().get(&format!("{copy}/export?format=ndjson"))?.body;
    ensure!(again == file, "exported\n{file}\nand then\n{again}");
    let attempts =
        |path: &str| server.api().get(&format!("{path}/attempts?filter=cause%3Drefused"))?.expect(200);
    let (mut copied, original) = (attempts(&copy)?.0, attempts(&path)?.0);
    for attempt in copied["attempts"].as_array_mut().context("attempts")? {
        attempt.as_object_mut().context("an attempt")?.remove("later");
    }
    ensure!(copied == original, "attempts of the copy are {copied}, not {original}");
    ensure!(server.api().delete(&copy)?.status == 204, "not deleted");
    server.api().get(&copy)?.problem(404)?;
    Ok(())
}

fn line_that_is_no_event_is_named(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let server = lab.own_server()?;
    let (path, _) = told(&server, &netns, 2)?;
    let file = server.api().get(&format!("{path}/export"))?.body;
    let first = file.lines().next().context("a line")?;
    let cases = [
        (String::new(), "line 1: there is no event"),
        (format!("{first}\nnonsense\n"), "line 2: is not JSON"),
        (format!("{first}\n\n"), "line 2: is not JSON"),
        (format!("{first}\n{first}\n"), "line 2: seq: 1 does not come after 1"),
        (first.replace("\"seq\":1", "\"seq\":0"), "line 1: seq"),
        (first.replace("\"peer\"", "\"pear\""), "line 1: network"),
        (first.replace("connect.failed", "connect.exploded"), "connect.exploded"),
        (format!("{file}{}", "x".repeat(2 << 20)), "line 3: is longer than"),
    ];
    for (file, words) in cases {
        let problem = import(&server, &file)?.problem(422)?;
        ensure!(problem.text("/detail")?.contains(words), "{words:?} is not in {}", problem.0);
    }
    let undeclared = server.api().send("POST", "/api/v1/traces/import", &[], Some(&file))?;
    undeclared.problem(415)?;
    let listed = server.api().get("/api/v1/traces")?.expect(200)?.list("/traces")?;
    ensure!(listed.len() == 1, "something is left of a bad file: {listed:?}");
    Ok(())
}

fn attempts_become_a_table_and_a_chrome_trace(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let server = lab.own_server()?;
    let (path, told) = told(&server, &netns, 3)?;
    let table = server.api().get(&format!("{path}/export?format=csv"))?;
    ensure!(table.content_type.starts_with("text/csv"), "{table:?}");
    ensure!(table.body.lines().count() == 1 + told.len(), "{}", table.body);
    ensure!(table.body.contains(",failed,refused,ECONNREFUSED,"), "{}", table.body);
    let file = server.api().get(&format!("{path}/export?format=chrome-trace"))?.expect(200)?;
    let slices = file.list("/traceEvents")?;
    let count = |phase: &str| slices.iter().filter(|event| event.is("/ph", phase).is_ok()).count();
    ensure!((count("b"), count("e")) == (told.len(), told.len()), "{}", file.0);
    server.api().get(&format!("{path}/export?format=pcap"))?.problem(400)?;
    Ok(())
}

fn armed_trace_keeps_what_is_around_the_first_match(lab: &Lab) -> Result<()> {
    let (netns, data) = (Netns::new()?, data()?);
    let server = start(lab, data.path())?;
    let mut request = only(&netns);
    request["recorder"] = json!({"before_s": 3, "after_s": 3, "filter": "comm=match"});
    let mut trace = Trace::start_in_state(&server, &request, "armed")?;
    refuse(&netns, "long-before", "127.0.0.1:81")?;
    thread::sleep(Duration::from_secs(5));
    trace.state()?.is("/state", "armed")?.lacks("/matched_unix_nano")?;
    refuse(&netns, "before", "127.0.0.1:81")?;
    refuse(&netns, "match", "127.0.0.1:81")?;
    refuse(&netns, "after", "127.0.0.1:81")?;
    // What readers are told is everything.
    for comm in ["long-before", "before", "match", "after"] {
        trace.expect("connect.start")?.is("/process/comm", comm)?;
        trace.expect("connect.failed")?.is("/process/comm", comm)?;
    }
    trace.stream().expect("end", Instant::now() + LIMIT)?.is("/reason", "recorded")?;
    trace.state()?.is("/state", "stopped")?.is("/end_reason", "recorded")?;
    let (path, told) = (trace.path(""), trace.told().to_vec());
    trace.leave();
    end(server, Signal::TERM)?;

    let server = start(lab, data.path())?;
    let kept = server.api().get(&format!("{path}/export"))?.body;
    let kept: Vec<Json> =
        kept.lines().map(|line| Ok(Json(serde_json::from_str(line)?))).collect::<Result<_>>()?;
    ensure!(kept == told[2..], "kept {kept:?}");
    let after = server.api().get(&path)?.expect(200)?;
    after.is("/events/first_seq", 3)?.is("/counters/lost/history", 0)?;
    // The first event that matched is the start of the attempt.
    let matched = kept[2].number("/time_unix_nano")?;
    ensure!(after.text("/matched_unix_nano")? == kept[2].text("/time_unix_nano")?, "{}", after.0);
    let reached = matched - after.number("/recorded_from_unix_nano")?;
    ensure!((reached - 3e9).abs() < 1e3, "{reached} ns before the match: {}", after.0);
    let attempts = server.api().get(&format!("{path}/attempts"))?.expect(200)?.list("/attempts")?;
    ensure!(attempts.len() == 3, "{attempts:?}");
    Ok(())
}

fn recording_that_reaches_back_less_far_says_so(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let server = lab.own_server()?;
    let mut request = only(&netns);
    request["recorder"] = json!({"before_s": 3600, "after_s": 0, "filter": "comm=match"});
    let trace = Trace::start_in_state(&server, &request, "armed")?;
    // Each tells its start and its end: together more than the live ring holds, and at once no more than the queue.
    for told in 1..=10 {
        storm(&netns, "crowd", Load::Refused, Length::Times(4000))?;
        trace.reached("/counters/delivered", told * 8000)?;
    }
    refuse(&netns, "match", "127.0.0.1:81")?;
    let state = trace.ended()?.is("/end_reason", "recorded")?.clone();
    let (from, matched) = (state.number("/recorded_from_unix_nano")?, state.number("/matched_unix_nano")?);
    ensure!(matched - from < 3600e9, "as far back as was asked for: {}", state.0);
    let first = state.count("/events/first_seq")?;
    ensure!(first > 1, "everything was held, so nothing was tested");
    let kept = server.api().get(&trace.path(&format!("/events?after={}&limit=1", first - 1)))?.expect(200)?;
    let from = state.text("/recorded_from_unix_nano")?;
    ensure!(kept.text("/events/0/time_unix_nano")? == from, "not since {from}: {}", kept.0);
    Ok(())
}

fn recorder_without_a_history_is_refused(lab: &Lab) -> Result<()> {
    let server = Server::start_with(lab.binary(), |command| {
        command.args(["--history", "off"]);
    })?;
    let refused =
        |recorder: Value| server.api().post("/api/v1/traces", &json!({"recorder": recorder}))?.problem(422);
    let whole = json!({"before_s": 3, "after_s": 1, "filter": "cause=timeout"});
    refused(whole.clone())?.is("/field", "recorder")?;
    for (member, value) in [("before_s", json!(0)), ("after_s", json!(3601)), ("filter", json!("cause=soon"))]
    {
        let mut wrong = whole.clone();
        wrong[member] = value;
        refused(wrong)?.is("/field", format!("recorder.{member}"))?;
    }
    Ok(())
}
