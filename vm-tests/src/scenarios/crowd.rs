//! Many attempts at once.

use std::collections::BTreeMap;
use std::thread;

use anyhow::{Result, ensure};

use super::expect::{only_without_stacks, refuse};
use crate::harness::{Actor, Lab, Netns};

super::scenarios!["crowd":
    thousand_attempts_of_fifty_threads_under_load [HEAVY],
];

const THREADS: usize = 50;
const CONNECTS: usize = 20;

/// Every attempt is told, and every one with the thread that made it.
fn thousand_attempts_of_fifty_threads_under_load(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_without_stacks(&netns))?;
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
