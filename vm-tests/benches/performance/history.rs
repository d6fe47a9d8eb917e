//! How long a page of a large history takes to find, and what it costs in memory.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use socket2::{Domain, Socket, Type};
use vm_tests::harness::{Length, Load, Server, storm};

use crate::{Bench, footprint::memory, report::Report};

/// Connects before history is waited for: a storm at full speed would lose some to it. They fill less than half of its queue.
const SLICE: u64 = 4_000;
const PAUSE: Duration = Duration::from_millis(20);
/// Older than all others, and rare.
const ABANDONED: u64 = 160;
const GOAL_MS: f64 = 50.0;

/// What is looked for, and whether its time has a goal.
const PAGES: &[(&str, &str, bool)] = &[
    ("the newest", "", true),
    ("of one cause", "filter=cause%3Drefused", true),
    ("of one peer", "filter=peer%3D127.0.3.7", true),
    ("of one cause and one peer", "filter=cause%3Drefused+peer%3D127.0.3.7", true),
    ("of a cause that is rare and long ago", "filter=cause%3Dclosed_by_app", true),
    ("of a cause and a peer, rare and long ago", "filter=cause%3Dclosed_by_app+peer%3D203.0.113.9", true),
    ("of a cause and a network", "filter=cause%3Drefused+peer%3D127.0.0.0/16", true),
    (
        "of a cause and a network, rare and long ago",
        "filter=cause%3Dclosed_by_app+peer%3D203.0.113.0/24",
        true,
    ),
    ("of two causes and two peers", "filter=cause%3Drefused,timeout+peer%3D127.0.3.7,127.0.1.9", true),
    ("of a cause and a peer that never met", "filter=cause%3Dtimeout+peer%3D127.0.3.7", true),
    ("of a port, rare and long ago", "filter=port%3D443", false),
];

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let count = if bench.quick { 20_000 } else { 1_000_000 };
    let part = if bench.quick { "A history of 20,000 attempts" } else { "A history of 1,000,000 attempts" };
    let data = tempfile::tempdir()?;
    let server = Server::start_in(data.path(), bench.lab.binary(), |_| {})?;
    let path = record(bench, &server, count)?;
    let mib = |value: f64| format!("{value:.1} MiB");
    let peak = memory(&server, "VmHWM")?;
    report.judge(part, "memory at most, while it is recorded", mib(peak), "≤ 150 MiB", peak <= 150.0);
    end(server)?;
    report.tell(part, "on disk", mib(on_disk(data.path())?));

    // Nothing of it is in the server's memory.
    let server = Server::start_in(data.path(), bench.lab.binary(), |_| {})?;
    for (what, query, is_judged) in PAGES {
        let (first, worst) = ask(&server, &format!("{path}/attempts?{query}"))?;
        let (what, value) =
            (format!("first page {what}"), format!("{first:.1} ms, later {worst:.1} ms at most"));
        if *is_judged {
            report.judge(part, what, value, format!("≤ {GOAL_MS} ms"), first.max(worst) <= GOAL_MS);
        } else {
            report.tell(part, what, value);
        }
    }
    let peak = memory(&server, "VmHWM")?;
    report.judge(part, "memory at most, while it is read", mib(peak), "≤ 150 MiB", peak <= 150.0);
    Ok(())
}

/// A trace of so many failed attempts, all of them in history; returns its path.
fn record(bench: &Bench, server: &Server, count: u64) -> Result<String> {
    let request = json!({"stacks": false, "filter": {"netns": bench.netns.inode()}});
    let reply = server.api().post("/api/v1/traces", &request)?;
    reply.expect(201)?;
    storm(&bench.netns, "gave-up", Load::Abandoned, Length::Times(ABANDONED))?;
    let connects = count - ABANDONED;
    for first in (0..connects).step_by(usize::try_from(SLICE)?) {
        bench.netns.run("history", || (first..connects.min(first + SLICE)).try_for_each(refuse))?;
        while is_behind(server)? {
            thread::sleep(PAUSE);
        }
    }
    let path = reply.location;
    let trace = server.api().send("POST", &format!("{path}/stop"), &[], None)?.expect(200)?;
    trace.is("/counters/delivered", count)?.is("/counters/lost/history", 0)?;
    Ok(path)
}

/// Whether history has events yet to write.
fn is_behind(server: &Server) -> Result<bool> {
    let figures = server.api().get("/metrics")?.body;
    let queued = figures.lines().find_map(|line| line.strip_prefix("synscope_history_queue_bytes "));
    Ok(queued.context("no such figure")? != "0")
}

/// A connect to one of a thousand addresses of this host, where nobody listens.
fn refuse(connect: u64) -> Result<()> {
    let peer = u16::try_from(connect * 7 % 1_000)?;
    let [network, host] = [u8::try_from(peer / 250)?, u8::try_from(peer % 250)? + 1];
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let address = SocketAddr::from((Ipv4Addr::new(127, 0, network, host), 81));
    ensure!(socket.connect(&address.into()).is_err(), "somebody listens on {address}");
    Ok(())
}

/// Milliseconds of the first time, and of the worst of some later ones.
fn ask(server: &Server, path: &str) -> Result<(f64, f64)> {
    let once = || {
        let begun = Instant::now();
        let reply = server.api().get(path)?;
        let took = begun.elapsed();
        reply.expect(200)?;
        anyhow::Ok(took.as_secs_f64() * 1e3)
    };
    let first = once()?;
    let later = (0..20).map(|_| once()).collect::<Result<Vec<_>>>()?;
    Ok((first, later.into_iter().fold(0.0, f64::max)))
}

fn end(mut server: Server) -> Result<()> {
    server.signal(Signal::TERM)?;
    server.wait(Duration::from_secs(30)).map(drop).context("the first server")
}

fn on_disk(data: &Path) -> Result<f64> {
    #[expect(clippy::cast_precision_loss)]
    Ok(data.join("history.db").metadata()?.len() as f64 / 1024.0 / 1024.0)
}
