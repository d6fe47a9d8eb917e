//! What the kernel produced is what was delivered and what was lost, to the last event.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vm_tests::harness::{Api, Json, Lab, Length, Load, Netns, Stream, storm};

use crate::{Scale, stop};

/// Operations of one kind in a row.
const SLICE: u64 = 1_600;
const KINDS: [Load; 3] = [Load::Refused, Load::Healthy, Load::Abandoned];

pub(crate) fn accounted_for(lab: &Lab, scale: Scale) -> Result<()> {
    let server = lab.own_server()?;
    let netns = Netns::new()?;
    // Connections that both ends have closed would use up the ports.
    netns.sysctl("ipv4/tcp_max_tw_buckets", "0")?;
    let traces = [
        json!({"filter": {"netns": netns.inode()}}),
        json!({"filter": {"netns": netns.inode(), "peer_port": [81]}, "stacks": false}),
        json!({"filter": {"netns": netns.inode(), "peer": "203.0.113.0/24"}, "drops": true}),
        // No filter: others on this host connect as well.
        json!({"stacks": false}),
    ];
    let api = server.api();
    let paths = traces.iter().map(|request| {
        let reply = api.post("/api/v1/traces", request)?;
        reply.expect(201)?;
        Ok(reply.location)
    });
    let paths = paths.collect::<Result<Vec<_>>>()?;
    let before = active_opens(&netns)?;
    let rounds = scale.of(48_000, 1_000_000).div_ceil(2 * SLICE * KINDS.len() as u64);
    storm_with_readers(&netns, api, &paths, rounds)?;
    let opened = active_opens(&netns)? - before;

    let stopped = paths.iter().map(|path| stop(api, path));
    let stopped = stopped.collect::<Result<Vec<_>>>()?;
    stopped.iter().try_for_each(events_add_up)?;
    // Of the host's others, some are under way at any time.
    stopped[..3].iter().try_for_each(attempts_add_up)?;
    let started = |trace: &Json| trace.count("/counters/attempts/started");
    // TcpActiveOpens counts in tcp_connect, after the change to SYN_SENT (6.18, net/ipv4/tcp_output.c).
    ensure!(started(&stopped[0])? == opened, "{} attempts of {opened} opens", started(&stopped[0])?);
    let each = rounds * SLICE * 2;
    ensure!(started(&stopped[1])? == each, "{} attempts to port 81 of {each}", started(&stopped[1])?);
    ensure!(started(&stopped[2])? == each, "{} attempts to a silent peer of {each}", started(&stopped[2])?);
    ensure!(
        started(&stopped[3])? >= opened,
        "{} attempts at all, of {opened} and more",
        started(&stopped[3])?
    );
    println!("{opened} attempts: {}", stopped.iter().map(figures).collect::<Vec<_>>().join("; "));
    Ok(())
}

/// Two threads storm; meanwhile readers join, read a little, and leave.
fn storm_with_readers(netns: &Netns, api: &Api, paths: &[String], rounds: u64) -> Result<()> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let storms: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for load in (0..rounds).flat_map(|_| KINDS) {
                        storm(netns, "storm", load, Length::Times(SLICE))?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        let reading = scope.spawn(|| {
            for path in paths.iter().cycle() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let mut stream = Stream::open(api, &format!("{path}/stream"))?;
                stream.next_text(Instant::now() + Duration::from_millis(300))?;
            }
            anyhow::Ok(())
        });
        let stormed: Result<Vec<_>> =
            storms.into_iter().map(|storm| storm.join().ok().context("a storm panicked")?).collect();
        over.store(true, Ordering::Relaxed);
        reading.join().ok().context("a reader panicked")??;
        stormed.map(drop)
    })
}

fn figures(trace: &Json) -> String {
    let counters = &trace.0["counters"];
    format!(
        "{} produced, {} delivered, lost {}",
        counters["produced"], counters["delivered"], counters["lost"]
    )
}

/// The first of the two sums that the reference promises.
fn events_add_up(trace: &Json) -> Result<()> {
    let count = |counter: &str| trace.count(&format!("/counters/{counter}"));
    let (produced, delivered) = (count("produced")?, count("delivered")?);
    let lost = count("lost/ringbuf")? + count("lost/queue")?;
    ensure!(produced == delivered + lost, "{produced} is not {delivered} and {lost}: {}", trace.0);
    Ok(())
}

/// The second.
fn attempts_add_up(trace: &Json) -> Result<()> {
    let attempt = |counter: &str| trace.count(&format!("/counters/attempts/{counter}"));
    let ended = attempt("established")? + attempt("failed")?;
    let unseen = attempt("untracked")? + attempt("replaced")? + attempt("evicted")?;
    let started = attempt("started")?;
    ensure!(started == ended + unseen, "{started} is not {ended} and {unseen}: {}", trace.0);
    Ok(())
}

/// `TcpActiveOpens` of a namespace.
fn active_opens(netns: &Netns) -> Result<u64> {
    netns.run("snmp", || {
        let text = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = lines.next().zip(lines.next()).context("no Tcp lines")?;
        let at = names.split(' ').position(|name| name == "ActiveOpens").context("no ActiveOpens")?;
        Ok(values.split(' ').nth(at).context("no value")?.parse()?)
    })
}
