//! Which process holds a socket, by the socket's inode number.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use super::{Unanswered, namespace::processes};

/// How much of /proc a search may look at. Reading one descriptor costs about a microsecond, and a busy host
/// has hundreds of thousands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Descriptors.
    pub entries: usize,
    /// Time.
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { entries: 100_000, time: Duration::from_millis(100) }
    }
}

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id, in the pid namespace of /proc.
    pub pid: u32,
    /// Name of its first thread.
    pub comm: String,
}

/// Looks through the descriptors of all processes for the socket. Finds the first that has it; others may
/// share it. `None` when nobody has it, or only processes that may not be looked at.
pub fn find(inode: u32, budget: Budget) -> Result<Option<Holder>, Unanswered> {
    let deadline = Instant::now() + budget.time;
    let wanted = format!("socket:[{inode}]");
    let mut entries = 0;
    for process in processes() {
        for descriptor in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
            if entries >= budget.entries || Instant::now() > deadline {
                return Err(Unanswered::SearchEnded { entries });
            }
            entries += 1;
            if fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str()) {
                return Ok(holder(&process));
            }
        }
    }
    Ok(None)
}

/// `None` when the process has ended meanwhile.
fn holder(process: &Path) -> Option<Holder> {
    let pid = process.file_name()?.to_str()?.parse().ok()?;
    let comm = fs::read(process.join("comm")).ok()?;
    Some(Holder { pid, comm: String::from_utf8_lossy(comm.trim_ascii_end()).into_owned() })
}
