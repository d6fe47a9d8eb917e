//! Steady failures for as long as somebody cares to wait: `just soak MINUTES`.

use std::{
    env,
    path::Path,
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use vm_tests::harness::{Api, Json, Lab, Netns, Server, Stream, storm};

use crate::{
    Scale,
    disk::{history_mib, most_mib},
    holdings::Holdings,
    stop,
};

const PER_SECOND: u32 = 1_000;
/// Between two looks at the server. Every piece is made by a thread of its own, as processes come and go.
const PIECE: Duration = Duration::from_secs(10);
/// Until then the live ring, caches and the pages of history fill.
const WARM_UP: Duration = Duration::from_mins(10);
/// Shorter than this, a slope tells of noise.
const JUDGED: Duration = Duration::from_mins(20);
const MAX_SLOPE_MIB_PER_HOUR: f64 = 1.0;
const HISTORY_MIB: u64 = 1_024;
/// The server stands still for so long once, before memory is judged: queues are as full then as a busy machine makes
/// them later, and what that leaves of holes in the heap is there from the beginning.
const HICCUP: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_mins(1);
/// What the server says when a commit of history took long.
const SLOW_DISK: &str = "the file system took";

pub(crate) fn nothing_grows_or_is_missed(lab: &Lab, scale: Scale) -> Result<()> {
    let data = tempfile::Builder::new().prefix("synscope-soak-").tempdir()?;
    let server = Server::start_in(data.path(), lab.binary(), |command| {
        command.args(["--history-mib", &HISTORY_MIB.to_string()]);
    })?;
    let (api, netns) = (server.api(), Netns::new()?);
    let created = api.post("/api/v1/traces", &json!({"filter": {"netns": netns.inode()}}))?;
    created.expect(201)?;
    let path = created.location;

    let soaked = thread::scope(|scope| {
        let reader = || {
            let stream = Stream::open(api, &format!("{path}/stream"))?;
            anyhow::Ok(scope.spawn(move || follow(stream)))
        };
        let readers = [reader()?, reader()?];
        let soaked = soak(&server, &netns, data.path(), length(scale)?, &readers);
        let stopped = stop(api, &path)?;
        let soaked = soaked?;
        let told = adds_up(&stopped, soaked.failures)?;
        for reader in readers {
            let seen = reader.join().ok().context("a reader panicked")??;
            ensure!(seen == told, "a reader was sent {seen} of {told}");
        }
        anyhow::Ok(soaked)
    })?;
    history_is_whole(api, &path, soaked.failures)?;
    let log = server.log();
    // A slow disk is the host's, and that nothing was lost for it was just seen.
    let is_wrong =
        |line: &&str| line.contains("ERROR ") || line.contains(" WARN ") && !line.contains(SLOW_DISK);
    let complaint = log.lines().find(is_wrong);
    ensure!(complaint.is_none(), "the server complained: {complaint:?}");
    soaked.nothing_grew()
}

/// As long as asked for, or as the scale has it.
fn length(scale: Scale) -> Result<Duration> {
    let minutes = env::var("SOAK_MINUTES").ok().map(|minutes| minutes.parse()).transpose();
    let minutes = minutes.context("SOAK_MINUTES is not a number of minutes")?;
    Ok(Duration::from_secs(minutes.map_or(scale.of(20, 120 * 60), |minutes: u64| minutes * 60)))
}

/// What was done, and what the server held meanwhile.
struct Soaked {
    failures: u64,
    samples: Vec<(Duration, Holdings)>,
}

/// Fails connects, and looks at the server; ends early when a reader has.
fn soak(
    server: &Server,
    netns: &Netns,
    data: &Path,
    time: Duration,
    readers: &[ScopedJoinHandle<'_, Result<u64>>],
) -> Result<Soaked> {
    let begun = Instant::now();
    let mut soaked = Soaked { failures: 0, samples: Vec::new() };
    let mut hiccup = Some(WARM_UP.min(time) / 2);
    while begun.elapsed() < time && !readers.iter().any(ScopedJoinHandle::is_finished) {
        if hiccup.take_if(|when| begun.elapsed() >= *when).is_some() {
            server.signal(Signal::STOP)?;
            soaked.failures += storm::paced(netns, PER_SECOND, HICCUP)?;
            server.signal(Signal::CONT)?;
        }
        soaked.failures += storm::paced(netns, PER_SECOND, PIECE)?;
        let holdings = Holdings::of(server.pid())?;
        soaked.samples.push((begun.elapsed(), holdings));
        let [kept_mib, ahead_mib] = history_mib(data);
        ensure!(kept_mib + ahead_mib <= most_mib(HISTORY_MIB), "{kept_mib} and {ahead_mib} MiB of history");
        if soaked.samples.len().is_multiple_of(6) {
            let (elapsed, failures) = (begun.elapsed().as_secs(), soaked.failures);
            println!(
                "{elapsed} s: {failures} failures, {holdings:?}, {kept_mib} and {ahead_mib} MiB of history"
            );
        }
    }
    Ok(soaked)
}

/// Reads to the end, where every event must be the next one. Parses no more than it must.
fn follow(mut stream: Stream) -> Result<u64> {
    const SEQ: &str = r#"{"seq":"#;
    let mut seen = 0;
    loop {
        let text = stream.next_text(Instant::now() + PATIENCE)?.context("not even a heartbeat came")?;
        if text.starts_with(r#"{"type":"end""#) {
            return Ok(seen);
        }
        ensure!(!text.starts_with(r#"{"type":"gap""#), "a gap after {seen}: {text}");
        for (at, _) in text.match_indices(SEQ) {
            let digits = text[at + SEQ.len()..].split(|c: char| !c.is_ascii_digit()).next();
            let seq: u64 = digits.unwrap_or_default().parse()?;
            ensure!(seq == seen + 1, "{seq} came after {seen}");
            seen += 1;
        }
    }
}

/// Returns how many events were told.
fn adds_up(stopped: &Json, failures: u64) -> Result<u64> {
    stopped.is("/counters/attempts/failed", failures)?;
    // A starved machine refuses a SYN so late that it is sent again, which is an event of its own.
    let produced = stopped.count("/counters/produced")?;
    ensure!(produced >= failures, "{produced} events of {failures} failures");
    stopped.is("/counters/delivered", produced)?;
    for stage in ["ringbuf", "queue", "history"] {
        stopped.is(&format!("/counters/lost/{stage}"), 0)?;
    }
    Ok(produced)
}

/// The newest is there, and it is still being written.
fn history_is_whole(api: &Api, path: &str, last: u64) -> Result<()> {
    api.get("/api/v1/capabilities")?.expect(200)?.is("/history/state", "recording")?;
    let newest = api.get(&format!("{path}/events?after={}", last - 1))?.expect(200)?;
    newest.is("/events/0/seq", last).map(drop)
}

impl Soaked {
    fn nothing_grew(&self) -> Result<()> {
        let (time, last) = self.samples.last().context("no sample")?;
        let measured: Vec<_> = self.samples.iter().filter(|(elapsed, _)| *elapsed >= WARM_UP).collect();
        let Some((since, first)) = measured.first().filter(|(since, _)| *time >= *since + JUDGED) else {
            println!("{} failures in {time:?}: {last:?}; too short for a slope", self.failures);
            return Ok(());
        };
        let slope = slope_mib_per_hour(&least(&measured));
        println!(
            "{} failures in {time:?}; since {since:?} {first:?} → {last:?}, {slope:+.3} MiB/h",
            self.failures
        );
        ensure!(slope < MAX_SLOPE_MIB_PER_HOUR, "memory grows by {slope:.3} MiB an hour");
        ensure!(last.files <= first.files + 4, "descriptors: {first:?} → {last:?}");
        ensure!(last.threads <= first.threads + 2, "threads: {first:?} → {last:?}");
        Ok(())
    }
}

/// What it held at least in every five minutes. What piles up in a busy moment is given back within a minute, on a busy
/// machine there are many such moments, and what grows is in the least as well.
fn least(samples: &[&(Duration, Holdings)]) -> Vec<(Duration, u64)> {
    let spans = samples.chunk_by(|(one, _), (next, _)| one.as_secs() / 300 == next.as_secs() / 300);
    let least = spans.filter_map(|span| span.iter().min_by_key(|(_, holdings)| holdings.resident_kib));
    least.map(|(time, holdings)| (*time, holdings.resident_kib)).collect()
}

/// Of the line that is nearest to all points, which are times and KiB.
#[expect(clippy::cast_precision_loss, reason = "it is far below 2^53")]
fn slope_mib_per_hour(points: &[(Duration, u64)]) -> f64 {
    let count = points.len() as f64;
    let points = points.iter().map(|(time, kib)| (time.as_secs_f64() / 3600.0, *kib as f64 / 1024.0));
    let (hours, mib) = points.clone().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    let (mean_hour, mean_mib) = (hours / count, mib / count);
    let (above, below) = points.fold((0.0, 0.0), |(above, below), (hour, mib)| {
        let from_mean = hour - mean_hour;
        (above + from_mean * (mib - mean_mib), below + from_mean * from_mean)
    });
    above / below
}
