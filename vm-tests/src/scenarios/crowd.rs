//! Many attempts at once.

use std::collections::BTreeMap;
use std::thread;

use anyhow::{Result, ensure};
use serde_json::json;

use super::expect::{only, refuse};
use crate::harness::{Actor, Lab, Netns};

super::scenarios!["crowd":
    thousand_attempts_of_fifty_threads_under_load [HEAVY],
    more_attempts_at_once_than_are_followed [HEAVY],
];

const THREADS: usize = 50;
const CONNECTS: usize = 20;

/// Every attempt is told, and every one with the thread that made it.
fn thousand_attempts_of_fifty_threads_under_load(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let cores = thread::available_parallelism()?.get();
    let spinners = (0..cores).map(|_| Actor::spin(&netns)).collect::<Result<Vec<_>>>()?;
    let made = thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| (0..CONNECTS).map(|_| refuse(&netns, "crowd", "127.0.0.1:81")).collect()))
            .collect();
        let results = workers.into_iter().map(|worker| worker.join().expect("a worker panicked"));
        results.collect::<Result<Vec<Vec<_>>>>()
    })?;
    drop(spinners);
    let mut expected: BTreeMap<(i64, i64), usize> = BTreeMap::new();
    for tried in made.into_iter().flatten() {
        *expected.entry((tried.tid.into(), tried.local.port().into())).or_default() += 1;
    }
    let mut told: BTreeMap<(i64, i64), usize> = BTreeMap::new();
    for _ in 0..THREADS * CONNECTS {
        let event = trace.expect("connect.failed")?;
        event.is("/process/pid", std::process::id())?.is("/process/comm", "crowd")?;
        let owner = (event.number("/process/tid")?, event.number("/network/local/port")?);
        #[expect(clippy::cast_possible_truncation, reason = "ids and ports are whole and small")]
        let owner = (owner.0 as i64, owner.1 as i64);
        *told.entry(owner).or_default() += 1;
    }
    ensure!(told == expected, "owners differ");
    Ok(())
}

/// As many as the attempt map holds, and some more.
const FOLLOWED: u64 = 16_384;
const BEYOND: u64 = 616;
/// Each has a peer of its own: the kernel looks long for a port when many to the same peer are taken.
const CROWDS: u64 = 10;

/// Those beyond are counted, and nobody mistakes them for others; the map is whole again once all have ended.
fn more_attempts_at_once_than_are_followed(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    // Told is none, for the local port is looked at when an event is told: this is about what is counted.
    let filter = json!({"netns": netns.inode(), "local_port": 1});
    let trace = lab.trace(&json!({"filter": filter, "stacks": false}))?;
    let each = (FOLLOWED + BEYOND) / CROWDS;
    let crowd = |number| Actor::crowd(&netns, &format!("203.0.113.{}:22", number + 1), each);
    let crowds = (0..CROWDS).map(crowd).collect::<Result<Vec<_>>>()?;
    trace
        .counted("started", FOLLOWED + BEYOND)?
        .is("/counters/attempts/untracked", BEYOND)?
        .is("/counters/attempts/established", 0)?
        .is("/counters/attempts/failed", 0)?;
    drop(crowds);
    trace.counted("failed", FOLLOWED)?;
    refuse(&netns, "afterwards", "127.0.0.1:81")?;
    trace.counted("failed", FOLLOWED + 1)?;
    let state = trace.stop()?;
    state
        .is("/counters/attempts/started", FOLLOWED + BEYOND + 1)?
        .is("/counters/attempts/failed", FOLLOWED + 1)?
        .is("/counters/attempts/untracked", BEYOND)?
        .is("/counters/attempts/replaced", 0)?
        .is("/counters/attempts/evicted", 0)?
        .is("/counters/attempts/established", 0)?
        .is("/counters/attempts/missed", 0)?
        .is("/counters/produced", 0)?;
    Ok(())
}
