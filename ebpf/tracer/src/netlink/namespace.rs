//! Finding a network namespace by its number, and doing something inside it.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};

use super::Unanswered;
use crate::{Event, aside::aside};

/// Processes whose namespace is looked at before the search is given up.
const MAX_PROCESSES: usize = 8_192;
/// Files that are looked at in each directory of bound namespaces.
const MAX_FILES: usize = 4_096;
/// The search may take this long.
const SEARCH_TIME: Duration = Duration::from_millis(50);
/// Where namespaces that may have no process are bound to files: by `ip netns` and CNI, and by Docker.
const BOUND: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// A network namespace, known by its number, and who is likely to be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Netns {
    /// The inode number of the namespace's file.
    pub number: u32,
    /// A thread and a process that were seen in it, in the pid namespace of /proc. Only a short cut: whether
    /// they are still (or ever were) in it is checked.
    pub seen: [Option<u32>; 2],
}

impl Netns {
    /// A namespace of which the number is all that is known.
    pub fn numbered(number: u32) -> Self {
        Self { number, seen: [None; 2] }
    }

    /// The namespace of an event's socket.
    pub fn of(event: &Event) -> Self {
        // Threads have namespaces of their own, so the thread comes first.
        Self {
            number: event.netns,
            seen: [event.owner.map(|owner| owner.tid), event.owner.map(|owner| owner.pid)],
        }
    }

    /// Does `work` inside the namespace: on a thread of its own that enters it and then ends, or right here
    /// when this thread is in it already. No thread that lives on ever changes its namespace.
    pub(super) fn run<T: Send>(self, work: impl FnOnce() -> T + Send) -> Result<T, Unanswered> {
        let file = match self.find()? {
            Place::Here => return Ok(work()),
            Place::File(file) => file,
        };
        let inside = move || {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        };
        let done = aside("netns", inside).map_err(|error| refused("starting a thread", &error))?;
        done.map_err(|errno: nix::Error| refused("entering a network namespace", &errno.into()))
    }

    fn find(self) -> Result<Place, Unanswered> {
        let own = Path::new("/proc/thread-self/ns/net");
        if fs::metadata(own).is_ok_and(|file| file.ino() == u64::from(self.number)) {
            return Ok(Place::Here);
        }
        let seen = self.seen.into_iter().flatten().map(|task| PathBuf::from(format!("/proc/{task}/ns/net")));
        let bound = BOUND.into_iter().flat_map(|directory| entries(directory).take(MAX_FILES));
        let bound = bound.map(|entry| entry.path());
        let mut denied = None;
        for path in seen.chain(bound) {
            match self.open(&path) {
                Ok(Some(file)) => return Ok(Place::File(file)),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some(error),
                _ => {}
            }
        }
        if let Some(error) = denied {
            return Err(refused("looking for a network namespace", &error));
        }
        self.search().map(Place::File)
    }

    /// Looks through all processes.
    fn search(self) -> Result<File, Unanswered> {
        let deadline = Instant::now() + SEARCH_TIME;
        for (looked_at, process) in processes().enumerate() {
            if looked_at >= MAX_PROCESSES || Instant::now() > deadline {
                return Err(Unanswered::SearchEnded { entries: looked_at });
            }
            if let Ok(Some(file)) = self.open(&process.join("ns/net")) {
                return Ok(file);
            }
        }
        Err(Unanswered::NamespaceGone(self.number))
    }

    /// Opens the file if it is this namespace's. Files of namespaces are regular ones; nothing else is opened.
    fn open(self, path: &Path) -> io::Result<Option<File>> {
        let is_it = |file: &fs::Metadata| file.is_file() && file.ino() == u64::from(self.number);
        if !is_it(&fs::metadata(path)?) {
            return Ok(None);
        }
        // The task may have moved, or another may have got its number: what counts is what was opened.
        let file = File::open(path)?;
        Ok(is_it(&file.metadata()?).then_some(file))
    }
}

enum Place {
    /// The calling thread is in it.
    Here,
    /// Holds the namespace open until it is dropped.
    File(File),
}

fn entries(directory: &str) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(directory).into_iter().flatten().flatten()
}

/// The directories of all processes in /proc.
pub(super) fn processes() -> impl Iterator<Item = PathBuf> {
    let is_number =
        |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
    entries("/proc").filter(is_number).map(|entry| entry.path())
}

fn refused(doing: &'static str, error: &io::Error) -> Unanswered {
    Unanswered::Refused { doing, errno: error.raw_os_error().unwrap_or(0) }
}
