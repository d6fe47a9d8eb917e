//! What becomes of history when the disk beneath it is full, damaged, removed, or takes nothing.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

use super::expect::{only, refuse};
use super::history::{LIMIT, TOKEN, data, end, events, is_in, start, told, told_until, until};
use crate::harness::{Lab, Netns, Run, Server, Trace, eventually};

super::scenarios!["disk":
    full_disk_pauses_history_and_room_resumes_it,
    read_only_directory_leaves_traces_in_memory,
    damaged_file_is_set_aside,
    file_damaged_while_it_is_used_is_set_aside,
    file_damaged_on_a_full_disk_is_replaced_once_there_is_room,
    file_removed_while_it_is_used_is_told_of_and_replaced,
    directory_removed_while_it_is_used_pauses_history,
    little_free_space_pauses_history_before_it_is_used_up,
    disk_that_stalls_is_told_of_and_costs_nothing [TOOLS],
];

/// Of the trace that is read from the damaged file.
const EVENTS: usize = 50;

/// A small file system of its own.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn new(size: &str) -> Result<Self> {
        let point = data()?;
        let options = std::ffi::CString::new(format!("size={size}"))?;
        mount("tmpfs", point.path(), "tmpfs", MountFlags::empty(), Some(options.as_c_str()))
            .context("tmpfs")?;
        Ok(Self(point))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // A server that is still being killed may hold it.
        let _ = unmount(self.path(), UnmountFlags::DETACH);
    }
}

fn full_disk_pauses_history_and_room_resumes_it(lab: &Lab) -> Result<()> {
    let (netns, disk) = (Netns::new()?, Tmpfs::new("8m")?);
    let data = disk.path().join("data");
    let server = start(lab, &data)?;
    let mut trace = Trace::start(&server, &only(&netns))?;
    refuse(&netns, "room", "127.0.0.1:81")?;
    trace.expect("connect.failed")?;
    // The trace's row is there; now not a page is left.
    thread::sleep(Duration::from_secs(1));
    let ballast = disk.path().join("ballast");
    fill(&ballast)?;
    let deadline = Instant::now() + LIMIT;
    // Pages that were freed in the file may take some events yet.
    while is_in(&server, "recording")? {
        ensure!(Instant::now() < deadline, "never paused; log:\n{}", server.log());
        refuse(&netns, "full", "127.0.0.1:81")?;
        trace.expect("connect.failed")?;
    }
    let paused = told_until(&server, "paused")?;
    ensure!(paused.text("/detail")?.contains("full") && !paused.text("/remedy")?.is_empty(), "{}", paused.0);
    refuse(&netns, "unkept", "127.0.0.1:81")?;
    trace.expect("connect.failed")?;
    trace.reached("/counters/lost/history", 1).with_context(|| server.log())?;
    ensure!(server.log().contains("nothing is written to history"), "{}", server.log());

    fs::remove_file(&ballast)?;
    until(&server, "recording")?;
    refuse(&netns, "kept", "127.0.0.1:81")?;
    let last = trace.expect("connect.failed")?;
    let path = trace.path("");
    trace.stop()?;
    trace.leave();
    end(server, Signal::TERM)?;
    let server = start(lab, &data)?;
    let kept = server.api().get(&format!("{path}/export"))?.body;
    let kept = kept.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    ensure!(kept.first().is_some_and(|event| event["seq"] == 1), "the first event is gone: {kept:?}");
    ensure!(kept.last() == Some(&last.0), "the last event is not there: {kept:?}");
    let hole = u64::try_from(kept.len())? < last.count("/seq")?;
    ensure!(hole, "nothing was lost, so nothing was tested");
    let counted = server.api().get(&path)?.expect(200)?;
    let missing = last.count("/seq")? - u64::try_from(kept.len())?;
    counted.is("/counters/lost/history", missing)?;
    Ok(())
}

fn read_only_directory_leaves_traces_in_memory(lab: &Lab) -> Result<()> {
    let (netns, disk) = (Netns::new()?, Tmpfs::new("1m")?);
    mount_remount(disk.path(), MountFlags::RDONLY, "").context("remounting read-only")?;
    let server = start(lab, &disk.path().join("data"))?;
    let history = told_until(&server, "memory")?;
    ensure!(history.text("/detail")?.contains("Read-only"), "{}", history.0);
    let (path, told) = told(&server, &netns, 2)?;
    ensure!(events(&server, &path)? == told, "tracing does not go on");
    ensure!(server.log().contains("in memory only"), "{}", server.log());
    Ok(())
}

fn damaged_file_is_set_aside(lab: &Lab) -> Result<()> {
    let (netns, data) = (Netns::new()?, data()?);
    let server = start(lab, data.path())?;
    let (path, _) = told(&server, &netns, 3)?;
    end(server, Signal::TERM)?;
    let mut file = OpenOptions::new().write(true).open(data.path().join("history.db"))?;
    file.seek(SeekFrom::Start(16))?;
    file.write_all(&[0xee; 12_000])?;

    let server = start(lab, data.path())?;
    until(&server, "recording")?;
    ensure!(server.log().contains("is damaged"), "{}", server.log());
    server.api().get(&path)?.problem(404)?;
    ensure!(aside(data.path())?.is_some(), "nothing is set aside");
    Ok(())
}

/// Takes every page that is left of a file system.
fn fill(ballast: &Path) -> Result<()> {
    let mut file = fs::File::create(ballast)?;
    while file.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
    Ok(())
}

/// Overwrites all pages of a file but the first, in place.
fn ruin(file: &Path, from: u64) -> Result<()> {
    let length = fs::metadata(file)?.len().saturating_sub(from);
    let mut file = OpenOptions::new().write(true).open(file)?;
    file.seek(SeekFrom::Start(from))?;
    file.write_all(&vec![0xee; usize::try_from(length)?])?;
    Ok(())
}

/// What a damaged file is called now.
fn aside(data: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("history.db.damaged-") {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Reads of a trace until somebody has noticed that the file is damaged, and returns what that is called now.
fn set_aside(server: &Server, data: &Path, path: &str) -> Result<PathBuf> {
    let found = eventually(LIMIT, || {
        let _ = server.api().get(&format!("{path}/events?limit=1000"))?;
        aside(data)
    })?;
    found.with_context(|| format!("nobody noticed; log:\n{}", server.log()))
}

/// Waits until a new file is written, and that is said.
fn begun_anew(server: &Server) -> Result<()> {
    let said = eventually(LIMIT, || {
        let history = told_until(server, "recording")?;
        // The file is renamed first, and that is said after the new one was made.
        Ok(history.text("/detail").is_ok_and(|text| text.contains("history.db.damaged-")).then_some(()))
    })?;
    said.with_context(|| format!("not a word of it; log:\n{}", server.log()))
}

fn file_damaged_while_it_is_used_is_set_aside(lab: &Lab) -> Result<()> {
    let (netns, data) = (Netns::new()?, data()?);
    let server = start(lab, data.path())?;
    let (earlier, told) = told(&server, &netns, EVENTS)?;
    server.api().send("POST", &format!("{earlier}/stop"), &[], None)?.expect(200)?;
    let mut running = Trace::start(&server, &only(&netns))?;
    refuse(&netns, "before", "127.0.0.1:81")?;
    running.expect("connect.failed")?;
    // Until it is committed, and memory has let go of the earlier trace.
    thread::sleep(Duration::from_secs(2));
    ruin(&data.path().join("history.db"), 4096)?;
    ruin(&data.path().join("history.db-wal"), 32)?;

    set_aside(&server, data.path(), &earlier)?;
    begun_anew(&server)?;
    ensure!(server.log().contains("is damaged"), "{}", server.log());
    let counted = server.api().get(&earlier)?.expect(200)?;
    counted.is("/counters/lost/history", told.len())?;
    ensure!(events(&server, &earlier)?.is_empty(), "events of a file that is not there");

    // Tracing has not stopped, and what is told now is kept.
    refuse(&netns, "after", "127.0.0.1:81")?;
    let last = running.expect("connect.failed")?;
    running.state()?.is("/counters/lost/history", 1)?;
    let path = running.path("");
    running.leave();
    end(server, Signal::TERM)?;
    let server = start(lab, data.path())?;
    ensure!(events(&server, &path)? == [last], "not what was told after the damage");
    server.api().get(&path)?.expect(200)?.is("/counters/lost/history", 1)?;
    server.api().get(&earlier)?.problem(404)?;
    Ok(())
}

fn file_damaged_on_a_full_disk_is_replaced_once_there_is_room(lab: &Lab) -> Result<()> {
    let (netns, disk) = (Netns::new()?, Tmpfs::new("8m")?);
    let data = disk.path().join("data");
    let server = start(lab, &data)?;
    let (earlier, _) = told(&server, &netns, EVENTS)?;
    server.api().send("POST", &format!("{earlier}/stop"), &[], None)?.expect(200)?;
    // Until it is committed, and memory has let go of the trace.
    thread::sleep(Duration::from_secs(2));
    let ballast = disk.path().join("ballast");
    fill(&ballast)?;
    ruin(&data.join("history.db"), 4096)?;
    ruin(&data.join("history.db-wal"), 32)?;
    let aside = set_aside(&server, &data, &earlier)?;
    let paused = told_until(&server, "paused")?;
    ensure!(paused.text("/detail")?.contains("full"), "{}", paused.0);
    let damaged = fs::read(&aside)?;
    // Tracing goes on meanwhile, and what cannot be kept is counted.
    let mut trace = Trace::start(&server, &only(&netns))?;
    refuse(&netns, "full", "127.0.0.1:81")?;
    trace.expect("connect.failed")?;
    trace.reached("/counters/lost/history", 1)?;

    fs::remove_file(&ballast)?;
    begun_anew(&server)?;
    refuse(&netns, "room", "127.0.0.1:81")?;
    let last = trace.expect("connect.failed")?;
    let path = trace.path("");
    trace.leave();
    end(server, Signal::TERM)?;
    ensure!(fs::read(&aside)? == damaged, "somebody wrote to what was set aside");
    ensure!(events(&start(lab, &data)?, &path)? == [last], "not what was told after the damage");
    Ok(())
}

fn file_removed_while_it_is_used_is_told_of_and_replaced(lab: &Lab) -> Result<()> {
    let (netns, data) = (Netns::new()?, data()?);
    let server = start(lab, data.path())?;
    let mut trace = Trace::start(&server, &only(&netns))?;
    refuse(&netns, "before", "127.0.0.1:81")?;
    trace.expect("connect.failed")?;
    // Until it is committed.
    thread::sleep(Duration::from_secs(1));
    fs::remove_file(data.path().join("history.db"))?;
    let state = trace.reached("/counters/lost/history", 1)?;
    state.is("/state", "running")?;
    let history = told_until(&server, "recording")?;
    ensure!(history.text("/detail")?.contains("was removed while it was used"), "{}", history.0);
    refuse(&netns, "after", "127.0.0.1:81")?;
    let last = trace.expect("connect.failed")?;
    let path = trace.path("");
    trace.leave();
    let log = end(server, Signal::TERM)?;
    ensure!(log.contains("was removed while it was used"), "{log}");
    ensure!(events(&start(lab, data.path())?, &path)? == [last], "not what was told after the removal");
    Ok(())
}

fn directory_removed_while_it_is_used_pauses_history(lab: &Lab) -> Result<()> {
    let (netns, parent) = (Netns::new()?, data()?);
    let data = parent.path().join("data");
    let server = start(lab, &data)?;
    let mut trace = Trace::start(&server, &only(&netns))?;
    fs::remove_dir_all(&data)?;
    let history = told_until(&server, "paused")?;
    ensure!(history.text("/remedy")?.contains("make the data directory again"), "{}", history.0);
    refuse(&netns, "unkept", "127.0.0.1:81")?;
    trace.expect("connect.failed")?;
    trace.reached("/counters/lost/history", 1)?.is("/state", "running").map(drop)
}

fn little_free_space_pauses_history_before_it_is_used_up(lab: &Lab) -> Result<()> {
    let (netns, disk) = (Netns::new()?, Tmpfs::new("32m")?);
    let server = Server::start_in(&disk.path().join("data"), lab.binary(), |command| {
        command.env("SYNSCOPE_TOKEN", TOKEN).args(["--history-keep-free-mib", "16"]);
    })?;
    let mut trace = Trace::start(&server, &only(&netns))?;
    until(&server, "recording")?;
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![0; 20 << 20])?;
    let paused = told_until(&server, "paused")?;
    ensure!(paused.text("/detail")?.contains("16 MiB shall stay so"), "{}", paused.0);
    refuse(&netns, "unkept", "127.0.0.1:81")?;
    trace.expect("connect.failed")?;
    trace.reached("/counters/lost/history", 1)?.is("/counters/lost/history", 1)?;
    fs::remove_file(&ballast)?;
    until(&server, "recording")?;
    refuse(&netns, "kept", "127.0.0.1:81")?;
    trace.expect("connect.failed")?;
    trace.state()?.is("/counters/lost/history", 1)?;
    Ok(())
}

/// An ext4 of its own in a file, which can be frozen: then whoever writes to it sleeps until it is thawed.
struct Ext4 {
    point: TempDir,
    _image: NamedTempFile,
}

impl Ext4 {
    fn new(size: u64) -> Result<Self> {
        let (point, image) = (data()?, NamedTempFile::new()?);
        image.as_file().set_len(size)?;
        tool("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image.path()])?;
        tool("mount", &["-o".as_ref(), "loop".as_ref(), image.path(), point.path()])?;
        Ok(Self { point, _image: image })
    }

    fn path(&self) -> &Path {
        self.point.path()
    }

    fn freeze(&self) -> Result<Frozen<'_>> {
        tool("fsfreeze", &["--freeze".as_ref(), self.path()])?;
        Ok(Frozen(self))
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        let _ = unmount(self.path(), UnmountFlags::DETACH);
    }
}

/// Thawed when dropped: nobody who waits for it can be killed.
struct Frozen<'a>(&'a Ext4);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = tool("fsfreeze", &["--unfreeze".as_ref(), self.0.path()]);
    }
}

fn tool(name: &str, arguments: &[&Path]) -> Result<()> {
    let mut command = Command::new(name);
    command.args(arguments);
    let run = Run::of_command(command)?;
    ensure!(run.code == Some(0), "{name}: {run:?}");
    Ok(())
}

fn disk_that_stalls_is_told_of_and_costs_nothing(lab: &Lab) -> Result<()> {
    let (netns, disk) = (Netns::new()?, Ext4::new(64 << 20)?);
    let data = disk.path().join("data");
    let server = start(lab, &data)?;
    let mut trace = Trace::start(&server, &only(&netns))?;
    refuse(&netns, "before", "127.0.0.1:81")?;
    trace.expect("connect.failed")?;
    let frozen = disk.freeze()?;
    refuse(&netns, "meanwhile", "127.0.0.1:81")?;
    trace.expect("connect.failed")?;
    let stalled = told_until(&server, "stalled")?;
    ensure!(!stalled.text("/detail")?.is_empty() && !stalled.text("/remedy")?.is_empty(), "{}", stalled.0);
    let figures = server.api().get("/metrics")?.body;
    ensure!(figures.contains("synscope_history_state{state=\"stalled\"} 1\n"), "{figures}");
    // Other traces start, and what is told is told at once.
    let mut other = Trace::start(&server, &only(&netns))?;
    refuse(&netns, "still", "127.0.0.1:81")?;
    trace.expect("connect.failed")?.is("/process/comm", "still")?;
    other.expect("connect.failed")?.is("/process/comm", "still")?;
    drop(frozen);

    until(&server, "recording")?;
    server.logs("for what was written to history")?;
    refuse(&netns, "after", "127.0.0.1:81")?;
    trace.expect("connect.failed")?;
    trace.stop()?.is("/counters/lost/history", 0)?;
    let (path, told) = (trace.path(""), trace.told().to_vec());
    trace.leave();
    other.leave();
    end(server, Signal::TERM)?;
    ensure!(events(&start(lab, &data)?, &path)? == told, "not everything that was told");
    Ok(())
}
