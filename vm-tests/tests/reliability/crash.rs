//! A server that is killed at any moment: the kernel takes everything back, and history has what was told.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use vm_tests::harness::{Api, Json, Lab, Length, Load, Netns, Server, Stream, kernel, storm};

use crate::Scale;

/// How long the kernel may take.
const WITHIN: Duration = Duration::from_secs(1);
/// What was told for longer than that is in history. Events wait for a commit for 100 ms, and for the one before it;
/// the rest is for machines that are busy with other things.
const COMMITTED_AFTER: Duration = Duration::from_secs(1);
const ENDED: Duration = Duration::from_secs(5);
/// What a server may leave in its directory.
const FILES: [&str; 5] = ["history.db", "history.db-shm", "history.db-wal", "lock", "token"];

pub(crate) fn killed_at_any_moment(lab: &Lab, scale: Scale) -> Result<()> {
    let (netns, data) = (Netns::new()?, tempfile::Builder::new().prefix("synscope-crash-").tempdir()?);
    let start = || Server::start_in(data.path(), lab.binary(), |_| {});
    let mut longest = Duration::ZERO;
    for time in 0..scale.of(8, 100) {
        let before = loaded()?;
        let mut server = start()?;
        // Deterministic, and spread over loading, storming, committing and stopping; some storm until they die.
        let (moment, stops) =
            if time % 2 == 0 { (time * 37 % 160, true) } else { (300 + time * 97 % 900, false) };
        let told = kill_at(&mut server, &netns, Duration::from_millis(moment), stops)?;
        let killed = Instant::now();
        let mut left = orphans(&before)?;
        while !left.is_empty() {
            ensure!(killed.elapsed() < WITHIN, "killed after {moment} ms, it left {left:?}");
            thread::sleep(Duration::from_millis(10));
            // What comes now is another's, on its way in or out.
            let orphans = orphans(&before)?;
            left.retain(|object| orphans.contains(object));
        }
        if let Some(told) = told {
            let mut server = start()?;
            longest = longest.max(told.lost(&server).with_context(|| format!("killed after {moment} ms"))?);
            server.signal(Signal::TERM)?;
            server.wait(ENDED)?;
        }
        nothing_strange_in(data.path())?;
    }
    println!("what was told up to {longest:?} before a kill was lost");
    Ok(())
}

/// What occurred for longer than that before a kill is in history: events wait for a commit for 100 ms, or for as long as
/// the one before it takes, and a commit of a second's thousandth part takes some milliseconds.
const UNCOMMITTED: Duration = Duration::from_millis(200);
const PER_SECOND: u32 = 1_000;

/// At a steady rate, which leaves nobody anything to catch up with.
pub(crate) fn only_the_last_moment_is_lost(lab: &Lab, scale: Scale) -> Result<()> {
    let (netns, data) = (Netns::new()?, tempfile::Builder::new().prefix("synscope-crash-").tempdir()?);
    let start = || Server::start_in(data.path(), lab.binary(), |_| {});
    let (mut longest, mut latest) = (Duration::ZERO, Duration::ZERO);
    for time in 0..scale.of(8, 100) {
        let mut server = start()?;
        let reply = server.api().post("/api/v1/traces", &json!({"filter": {"netns": netns.inode()}}))?;
        reply.expect(201)?;
        let dead = AtomicBool::new(false);
        let (killed, late) = thread::scope(|scope| {
            let witness = scope.spawn(|| lateness(&dead));
            let load = scope.spawn(|| {
                while !dead.load(Ordering::Relaxed) {
                    storm::paced(&netns, PER_SECOND, Duration::from_millis(50))?;
                }
                anyhow::Ok(())
            });
            caught_up(server.api(), &reply.location)?;
            // Over many commits, and every phase of one.
            thread::sleep(Duration::from_millis(500 + time * 97 % 900));
            let killed = SystemTime::now();
            server.signal(Signal::KILL)?;
            dead.store(true, Ordering::Relaxed);
            load.join().ok().context("the load panicked")??;
            anyhow::Ok((killed, witness.join().ok().context("the witness panicked")?))
        })?;
        server.wait(ENDED)?;
        let mut server = start()?;
        let export = server.api().get(&format!("{}/export?format=ndjson", reply.location))?;
        ensure!(export.status == 200, "{export:?}");
        let newest = export.body.lines().last().context("nothing was recorded")?;
        let newest = Json(serde_json::from_str(newest)?).text("/time_unix_nano")?.parse()?;
        let lost = killed.duration_since(UNIX_EPOCH + Duration::from_nanos(newest)).unwrap_or_default();
        // The load, who reads, who describes and who writes are woken, and each may be as late as the witness was.
        ensure!(
            lost <= UNCOMMITTED + 4 * late,
            "{lost:?} before the kill are lost, and who sleeps is {late:?} late"
        );
        (longest, latest) = (longest.max(lost), latest.max(late));
        server.signal(Signal::TERM)?;
        server.wait(ENDED)?;
    }
    println!("up to {longest:?} before a kill were lost, where who sleeps was up to {latest:?} late");
    Ok(())
}

/// Waits until all that was produced is told but for what comes just now: for the first events symbols are read.
fn caught_up(api: &Api, path: &str) -> Result<()> {
    const JUST_NOW: u64 = PER_SECOND as u64 / 20;
    for _ in 0..1_000 {
        let trace = api.get(path)?.expect(200)?;
        let (produced, delivered) = (trace.count("/counters/produced")?, trace.count("/counters/delivered")?);
        if delivered > JUST_NOW && produced.saturating_sub(delivered) < JUST_NOW {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    anyhow::bail!("the server cannot keep up with {PER_SECOND} a second")
}

/// By how much a thread that sleeps is woken too late on this machine, at the most.
fn lateness(over: &AtomicBool) -> Duration {
    const NAP: Duration = Duration::from_millis(2);
    let mut latest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        let asleep = Instant::now();
        thread::sleep(NAP);
        latest = latest.max(asleep.elapsed().saturating_sub(NAP));
    }
    latest
}

/// What a reader was told, and when.
struct Told {
    path: String,
    /// Every batch's last number.
    batches: Vec<(Instant, u64)>,
    killed: Instant,
}

/// Starts a trace and storms, and kills the server; nothing where it died before the trace began.
fn kill_at(server: &mut Server, netns: &Netns, moment: Duration, stops: bool) -> Result<Option<Told>> {
    let (api, dead) = (server.api().clone(), AtomicBool::new(false));
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let reply = api.post("/api/v1/traces", &json!({"filter": {"netns": netns.inode()}})).ok()?;
            let path = reply.location;
            let reader = scope.spawn({
                let (api, path) = (api.clone(), path.clone());
                move || Stream::open(&api, &format!("{path}/stream")).map_or_else(|_| Vec::new(), read)
            });
            while !dead.load(Ordering::Relaxed) {
                storm(netns, "storm", Load::Refused, Length::Times(1_600)).ok()?;
                // The server's end may cut this off.
                if stops {
                    drop(api.send("POST", &format!("{path}/stop"), &[], None));
                    break;
                }
            }
            Some((path, reader.join().ok()?))
        });
        thread::sleep(moment);
        server.signal(Signal::KILL)?;
        let killed = Instant::now();
        dead.store(true, Ordering::Relaxed);
        server.wait(ENDED)?;
        let told = busy.join().ok().context("the load panicked")?;
        Ok(told.map(|(path, batches)| Told { path, batches, killed }))
    })
}

/// Reads until the server is gone.
fn read(mut stream: Stream) -> Vec<(Instant, u64)> {
    let mut batches = Vec::new();
    while let Ok(Some(text)) = stream.next_text(Instant::now() + ENDED) {
        let last = text.rsplit_once(r#"{"seq":"#).and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
        batches.extend(last.map(|seq| (Instant::now(), seq)));
    }
    batches
}

impl Told {
    /// How long before the kill the oldest was told that a new server does not have.
    fn lost(&self, server: &Server) -> Result<Duration> {
        let reply = server.api().get(&self.path)?;
        let mut next = 1;
        if reply.status != 404 {
            let trace = reply.expect(200)?;
            next = trace.count("/events/next_seq")?;
            ensure!(["interrupted", "stopped"].contains(&trace.text("/state")?), "{}", trace.0);
            if trace.text("/state")? == "interrupted" {
                ensure!(
                    server.log().contains("may be missing"),
                    "no word of what may be missing: {}",
                    server.log()
                );
            }
            self.is_whole(server, &trace)?;
        }
        let lost = self.batches.iter().find(|(_, seq)| *seq >= next);
        let lost = lost.map_or(Duration::ZERO, |(when, _)| self.killed.saturating_duration_since(*when));
        ensure!(lost <= COMMITTED_AFTER, "what was told {lost:?} before the kill is lost");
        Ok(lost)
    }

    /// No hole up to the last one, but for batches that the busy writer had no room for, which are counted.
    fn is_whole(&self, server: &Server, trace: &Json) -> Result<()> {
        let export = server.api().get(&format!("{}/export?format=ndjson", self.path))?;
        ensure!(export.status == 200, "{export:?}");
        let (lines, lost) = (export.body.lines().count() as u64, trace.count("/counters/lost/history")?);
        let told = trace.count("/events/next_seq")? - 1;
        ensure!(lines + lost == told, "{lines} events are there and {lost} counted as lost, of {told}");
        Ok(())
    }
}

fn nothing_strange_in(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        ensure!(FILES.iter().any(|file| name == *file), "{} was left behind", name.display());
    }
    Ok(())
}

/// A program or map, by its number. Numbers only rise.
type Object = (&'static str, u32);

fn loaded() -> Result<BTreeSet<Object>> {
    let programs = kernel::loaded_programs()?.into_iter().map(|id| ("program", id));
    let maps = kernel::loaded_maps()?.into_iter().map(|id| ("map", id));
    Ok(programs.chain(maps).collect())
}

/// What came since then and no process holds: others may trace on this machine, too.
fn orphans(before: &BTreeSet<Object>) -> Result<BTreeSet<Object>> {
    let mut left: BTreeSet<_> = loaded()?.difference(before).copied().collect();
    if left.is_empty() {
        return Ok(left);
    }
    for process in fs::read_dir("/proc")? {
        let Some(pid) = process?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended meanwhile.
        for id in kernel::programs_of(pid).unwrap_or_default() {
            left.remove(&("program", id));
        }
        for id in kernel::maps_of(pid).unwrap_or_default() {
            left.remove(&("map", id));
        }
    }
    Ok(left)
}
