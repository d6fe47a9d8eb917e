//! What history takes of the disk, however fast events come.

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use vm_tests::harness::{Lab, Length, Load, Netns, Server, storm};

use crate::{Scale, stop};

/// The sixteenth by which history may grow while it is being removed from, the log that SQLite writes ahead (16 MiB),
/// what is written at once (8 MiB), and pages that stay in the file though they are free (4 MiB).
pub(crate) const fn most_mib(history_mib: u64) -> u64 {
    history_mib + history_mib / 16 + 28
}

/// The files of a history, in MiB: the database, and what is written ahead.
pub(crate) fn history_mib(data: &Path) -> [u64; 2] {
    ["history.db", "history.db-wal"]
        .map(|file| fs::metadata(data.join(file)).map_or(0, |metadata| metadata.len() >> 20))
}

/// Less than the storm makes, compressed as it is.
const HISTORY_MIB: u64 = 24;
/// As many at most.
const STORMS: usize = 5;
/// What a storm waits for less than once.
const LOOK: Duration = Duration::from_millis(50);

/// Stacks and all, from both processors at once: more than can be removed as it comes.
pub(crate) fn history_keeps_to_its_size(lab: &Lab, scale: Scale) -> Result<()> {
    let data = tempfile::Builder::new().prefix("synscope-size-").tempdir()?;
    let server = Server::start_in(data.path(), lab.binary(), |command| {
        command.args(["--history-mib", &HISTORY_MIB.to_string()]);
    })?;
    let netns = Netns::new()?;
    let mut most = 0;
    // A slow machine loses most of a storm before it is kept, and takes another.
    for _ in 0..STORMS {
        let created = server.api().post("/api/v1/traces", &json!({"filter": {"netns": netns.inode()}}))?;
        created.expect(201)?;
        most = most.max(largest_amid_a_storm(&netns, data.path(), scale)?);
        let stopped = stop(server.api(), &created.location)?;
        most = most.max(history_mib(data.path()).iter().sum());
        println!("{most} MiB of history; {}", stopped.0["counters"]["lost"]);
        if most > HISTORY_MIB {
            break;
        }
    }
    ensure!(most > HISTORY_MIB, "no storm: {most} MiB of history");
    ensure!(most <= most_mib(HISTORY_MIB), "{most} MiB of history");
    Ok(())
}

/// Fails from both processors at once; returns the most that history had meanwhile, in MiB.
fn largest_amid_a_storm(netns: &Netns, data: &Path, scale: Scale) -> Result<u64> {
    let (mut most, times) = (0, Length::Times(scale.of(96_000, 960_000)));
    thread::scope(|scope| {
        let start = || scope.spawn(|| storm(netns, "storm", Load::Refused, times));
        let storms = [start(), start()];
        while !storms.iter().all(thread::ScopedJoinHandle::is_finished) {
            most = most.max(history_mib(data).iter().sum());
            thread::sleep(LOOK);
        }
        storms.into_iter().try_for_each(|storm| storm.join().ok().context("a storm panicked")?.map(drop))
    })?;
    Ok(most)
}
