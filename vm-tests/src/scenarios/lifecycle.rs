//! Traces and servers that end, and what they leave in the kernel.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::Signal;
use serde_json::json;

use super::expect::{nothing, nothing_with_stacks, only, refuse};
use crate::harness::{Frame, Lab, Netns, Server, Stream, Trace, eventually, kernel};

super::scenarios!["lifecycle":
    trace_ends_by_itself_after_its_time,
    stop_unloads_every_program,
    deleted_trace_is_gone_with_its_programs,
    killed_server_leaves_nothing_in_the_kernel,
    terminated_server_says_goodbye_to_its_streams,
    trace_ends_by_itself_after_so_many_events,
    one_trace_too_many_is_refused_until_another_stops,
    limit_of_traces_holds_for_those_that_start_at_once,
];

/// The kernel frees programs and maps some time after the last descriptor is closed.
const UNLOAD_LIMIT: Duration = Duration::from_secs(5);

/// BPF programs and maps of one server, as they were while a trace ran.
struct Footprint {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
}

impl Footprint {
    fn of(server: &Server) -> Result<Self> {
        let programs = kernel::programs_of(server.pid())?;
        let maps = kernel::maps_of(server.pid())?;
        ensure!(!programs.is_empty(), "a running trace should hold programs");
        let loaded = kernel::loaded_programs()?;
        ensure!(programs.is_subset(&loaded), "{programs:?} should be loaded: {loaded:?}");
        Ok(Self { programs, maps })
    }

    /// By the kernel's own lists: other servers' programs come and go beside ours.
    fn is_gone(&self) -> Result<()> {
        let (mut programs, mut maps) = (Vec::new(), Vec::new());
        let gone = eventually(UNLOAD_LIMIT, || {
            programs = kernel::loaded_programs()?.intersection(&self.programs).copied().collect();
            maps = kernel::loaded_maps()?.intersection(&self.maps).copied().collect();
            Ok((programs.is_empty() && maps.is_empty()).then_some(()))
        })?;
        gone.with_context(|| format!("still loaded: programs {programs:?}, maps {maps:?}"))
    }
}

fn stop_unloads_every_program(lab: &Lab) -> Result<()> {
    let server = lab.own_server()?;
    let trace = Trace::start(&server, &nothing_with_stacks())?;
    let footprint = Footprint::of(&server)?;
    let stopped = trace.stop()?;
    stopped.is("/state", "stopped")?.is("/end_reason", "requested")?;
    ensure!(kernel::programs_of(server.pid())?.is_empty(), "programs are held after the answer");
    footprint.is_gone()?;
    ensure!(trace.stop()? == stopped, "a second stop should answer the same");
    Ok(())
}

fn deleted_trace_is_gone_with_its_programs(lab: &Lab) -> Result<()> {
    let server = lab.own_server()?;
    let trace = Trace::start(&server, &nothing_with_stacks())?;
    let footprint = Footprint::of(&server)?;
    let reply = server.api().delete(&trace.path(""))?;
    ensure!(reply.status == 204, "DELETE answered {}: {}", reply.status, reply.body);
    footprint.is_gone()?;
    server.api().get(&trace.path(""))?.problem(404)?;
    server.api().get(&trace.path("/events"))?.problem(404)?;
    Ok(())
}

fn killed_server_leaves_nothing_in_the_kernel(lab: &Lab) -> Result<()> {
    let mut server = lab.own_server()?;
    let _trace = Trace::start(&server, &nothing_with_stacks())?;
    let footprint = Footprint::of(&server)?;
    server.signal(Signal::KILL)?;
    server.wait(Duration::from_secs(20))?;
    footprint.is_gone()
}

fn terminated_server_says_goodbye_to_its_streams(lab: &Lab) -> Result<()> {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = lab.own_server()?;
        let trace = Trace::start(&server, &nothing_with_stacks())?;
        let mut stream = Stream::open(server.api(), &trace.path("/stream"))?;
        let footprint = Footprint::of(&server)?;
        server.signal(signal)?;
        let (messages, code) = stream.to_close(Instant::now() + Duration::from_secs(20))?;
        ensure!(code == 1001, "closed with {code} on {signal:?}");
        let last = messages.last().context("no message before the close")?;
        last.is("/type", "end")?.is("/reason", "shutdown")?;
        let status = server.wait(Duration::from_secs(20))?;
        ensure!(status.code() == Some(0), "ended with {status} on {signal:?}: {}", server.log());
        footprint.is_gone()?;
    }
    Ok(())
}

fn trace_ends_by_itself_after_its_time(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let request = json!({"filter": {"netns": netns.inode()}, "stacks": false, "ttl_s": 1});
    let asked = Instant::now();
    let mut trace = lab.trace(&request)?;
    let (messages, code) = trace.stream().to_close(Instant::now() + Duration::from_secs(20))?;
    ensure!(asked.elapsed() >= Duration::from_secs(1), "ended early: {:?}", asked.elapsed());
    ensure!(code == 1000, "closed with {code}");
    messages.last().context("no end")?.is("/type", "end")?.is("/reason", "ttl")?;
    trace.state()?.is("/state", "stopped")?.is("/end_reason", "ttl")?;
    Ok(())
}

fn trace_ends_by_itself_after_so_many_events(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut request = only(&netns);
    request["max_events"] = json!(2);
    let mut trace = lab.trace(&request)?;
    for _ in 0..4 {
        refuse(&netns, "max-events", "127.0.0.1:81")?;
    }
    trace.expect("connect.failed")?.is("/seq", 1)?;
    trace.expect("connect.failed")?.is("/seq", 2)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    trace.stream().expect("end", deadline)?.is("/reason", "max_events")?;
    let closed = trace.stream().next_news(deadline)?;
    ensure!(matches!(closed, Some(Frame::Closed(1000))), "closed by {closed:?}");
    trace.state()?.is("/state", "stopped")?.is("/end_reason", "max_events")?;
    ensure!(trace.events()?.len() == 2, "more events than asked for");
    Ok(())
}

fn one_trace_too_many_is_refused_until_another_stops(lab: &Lab) -> Result<()> {
    let server = Server::start_with(lab.binary(), |command| {
        command.args(["--max-traces", "2"]);
    })?;
    let (first, _second) = (Trace::start(&server, &nothing())?, Trace::start(&server, &nothing())?);
    server.api().post("/api/v1/traces", &nothing())?.problem(409)?;
    first.stop()?;
    Trace::start(&server, &nothing()).map(drop)
}

/// Nobody waits for another's programs to be loaded, and yet all are counted.
fn limit_of_traces_holds_for_those_that_start_at_once(lab: &Lab) -> Result<()> {
    let server = Server::start_with(lab.binary(), |command| {
        command.args(["--max-traces", "2"]);
    })?;
    let mut statuses = thread::scope(|scope| {
        let start = || Ok::<_, anyhow::Error>(server.api().post("/api/v1/traces", &nothing())?.status);
        let starts: Vec<_> = (0..5).map(|_| scope.spawn(start)).collect();
        let joined =
            starts.into_iter().map(|start| start.join().map_err(|_| anyhow!("a thread panicked"))?);
        joined.collect::<Result<Vec<_>>>()
    })?;
    statuses.sort_unstable();
    ensure!(statuses == [201, 201, 409, 409, 409], "{statuses:?}");
    Ok(())
}
