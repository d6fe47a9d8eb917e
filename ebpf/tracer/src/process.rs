//! Who asked: the process behind a process id, kept for when it is gone.
//!
//! Of a process its executable, ancestors, cgroup and code mappings are read. Its command line and its
//! environment are not: they may hold secrets.

mod maps;
mod stat;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::unistd::{SysconfVar, sysconf};

pub use maps::{Mapping, Maps};
use stat::Stat;

use crate::{
    clock::Clock,
    code::Code,
    container::{self, Workload},
    recent::Recent,
};

/// Processes remembered. Beyond, those that were not asked for the longest are forgotten.
const MAX_PROCESSES: usize = 1024;
/// Ancestors told of one process, its parent first.
const MAX_ANCESTORS: usize = 8;
/// How long a snapshot is taken for the process's without looking again. A process id comes back only after
/// all others were given out, which takes longer on any host.
const TRUSTED_FOR: Duration = Duration::from_millis(500);
/// Mappings are read again for an address that they do not cover, at most this often: libraries are loaded
/// late, and stacks hold addresses that are none.
const MAPS_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Start times are given in clock ticks of 10 ms, and wall time is adjusted now and then.
const START_TOLERANCE_NS: u64 = 100_000_000;
/// Inode number of the initial pid namespace (PROC_PID_INIT_INO in include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// What is known of one process: read once, while it was there.
#[derive(Debug)]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Name of the main thread when it was looked at.
    pub comm: String,
    /// The executable's path in the process's own mount namespace, with ` (deleted)` behind it when the file
    /// was replaced or removed. `None` for kernel threads, and when it was too late to ask.
    pub executable: Option<PathBuf>,
    /// Parent first, up to process 1 or eight generations.
    pub ancestry: Vec<Ancestor>,
    /// Cgroup v2 path.
    pub cgroup: Option<String>,
    /// What its cgroups tell of container, pod and unit; of version 1 as well, on hosts that use both.
    pub workload: Workload,
    identity: Identity,
    /// Where its executable's code is mapped.
    code: (u64, u64),
    start_unix_ns: u64,
    /// The same by the boot-time clock.
    start_boot_ns: u64,
    /// Device and inode of its root directory.
    root: Option<(u64, u64)>,
    maps: Mutex<MapsState>,
}

/// A process that started the one before it, or adopted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Name of its main thread.
    pub comm: String,
}

/// Tells a process, and the program that it runs, from all others that had or will have its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pid: u32,
    start_ticks: u64,
    /// Changes with exec().
    start_stack: u64,
}

#[derive(Debug, Default)]
struct MapsState {
    maps: Arc<Maps>,
    read: Option<Instant>,
}

/// Finds processes by id and remembers them. May be shared between threads; each look-up reads /proc.
#[derive(Debug)]
pub struct Processes {
    known: Mutex<Recent<u32, Known>>,
    /// False where /proc numbers processes otherwise than the kernel's records do.
    numbered_alike: bool,
    tick_ns: u64,
}

#[derive(Debug)]
struct Known {
    process: Arc<Process>,
    checked: Instant,
}

impl Default for Processes {
    fn default() -> Self {
        Self::new()
    }
}

impl Processes {
    /// Knows nothing yet. In a pid namespace other than the initial one it never will.
    pub fn new() -> Self {
        let namespace = fs::read_link("/proc/self/ns/pid");
        Self::numbered(namespace.is_ok_and(|link| link == Path::new(INITIAL_PID_NAMESPACE)))
    }

    /// For tests in containers: their processes are looked up by the numbers that /proc shows.
    #[cfg(test)]
    pub(crate) fn numbering_alike() -> Self {
        Self::numbered(true)
    }

    fn numbered(alike: bool) -> Self {
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
        let ticks = ticks.and_then(|ticks| u64::try_from(ticks).ok()).filter(|&ticks| ticks > 0);
        Self {
            known: Mutex::new(Recent::new(MAX_PROCESSES)),
            numbered_alike: alike,
            tick_ns: 1_000_000_000 / ticks.unwrap_or(100),
        }
    }

    /// The process that had this id at a moment in the past, in nanoseconds since 1970, and ran this code, if that is
    /// known. `None` when it was gone before anybody asked.
    pub fn at(&self, pid: u32, unix_ns: u64, code: Option<&Code>) -> Option<Arc<Process>> {
        if !self.numbered_alike {
            return None;
        }
        let process = match self.known(pid, unix_ns) {
            Some((process, true)) if process.may_have_run(code) => return Some(process),
            known => self.look(pid, unix_ns, known.map(|(process, _)| process)),
        };
        // The id may have been given to another process, or the process have run another program, before and since.
        process.filter(|process| process.may_have_run(code))
    }

    /// Reads who has the id now; the one remembered, if that is still the same or the last that is known.
    fn look(&self, pid: u32, unix_ns: u64, known: Option<Arc<Process>>) -> Option<Arc<Process>> {
        let Ok(stat) = Stat::read(pid) else { return known };
        if let Some(process) = &known
            && process.identity.is_still(&stat)
        {
            self.remember(process);
            return known;
        }
        let start_boot_ns = stat.start_ticks.saturating_mul(self.tick_ns);
        let start_unix_ns = Clock::new().unix_ns(start_boot_ns);
        if !was_there(start_unix_ns, unix_ns) {
            // The id was given to another process since.
            return known;
        }
        let process = Arc::new(Process::read(pid, stat, start_unix_ns, start_boot_ns));
        self.remember(&process);
        Some(process)
    }

    /// True when [`Self::at`] has nothing to read.
    pub fn is_known(&self, pid: u32, unix_ns: u64, code: Option<&Code>) -> bool {
        let known = || self.known(pid, unix_ns);
        !self.numbered_alike || known().is_some_and(|(process, sure)| sure && process.may_have_run(code))
    }

    /// What is remembered of the id, if it was there at that moment, and whether it need not be checked.
    fn known(&self, pid: u32, unix_ns: u64) -> Option<(Arc<Process>, bool)> {
        let mut all = lock(&self.known);
        let known = all.get(&pid).filter(|known| was_there(known.process.start_unix_ns, unix_ns))?;
        Some((Arc::clone(&known.process), known.checked.elapsed() < TRUSTED_FOR))
    }

    fn remember(&self, process: &Arc<Process>) {
        let known = Known { process: Arc::clone(process), checked: Instant::now() };
        lock(&self.known).insert(process.pid, known);
    }
}

/// True when a process that started at one moment can have acted at the other.
fn was_there(start_unix_ns: u64, unix_ns: u64) -> bool {
    start_unix_ns <= unix_ns.saturating_add(START_TOLERANCE_NS)
}

impl Identity {
    /// True when the process goes on. One that exits gives up its stack before its id.
    fn is_still(self, stat: &Stat) -> bool {
        self.start_ticks == stat.start_ticks
            && (self.start_stack == stat.start_stack || stat.start_stack == 0)
    }
}

impl Process {
    fn read(pid: u32, stat: Stat, start_unix_ns: u64, start_boot_ns: u64) -> Self {
        let identity = Identity { pid, start_ticks: stat.start_ticks, start_stack: stat.start_stack };
        // A process that ends gives up its memory first: mappings and executable are the most urgent.
        let maps = read_maps(pid);
        let executable = fs::read_link(format!("/proc/{pid}/exe")).ok();
        let root = root_of(pid);
        let cgroups = fs::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let cgroups = String::from_utf8_lossy(&cgroups);
        Self {
            pid,
            executable,
            ancestry: ancestry(&stat),
            comm: stat.comm,
            code: stat.code,
            cgroup: cgroups.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned),
            workload: workload(&cgroups),
            identity,
            start_unix_ns,
            start_boot_ns,
            root,
            maps: Mutex::new(maps),
        }
    }

    /// False for code that is older than the process: it is of one that had the same id, and its memory descriptor at the
    /// same address, by which the programs tell processes apart.
    pub fn may_own(&self, code: &Code) -> bool {
        self.start_boot_ns <= code.learnt_ns.saturating_add(START_TOLERANCE_NS)
    }

    fn may_have_run(&self, code: Option<&Code>) -> bool {
        code.is_none_or(|code| code.may_be_at(self.code) || !self.may_own(code))
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Device and inode of its root directory, if that could be read.
    pub(crate) fn root(&self) -> Option<(u64, u64)> {
        self.root
    }

    /// Its executable mappings: as remembered, or read again when they do not cover these addresses.
    pub fn maps(&self, addresses: &[u64]) -> Arc<Maps> {
        let mut state = lock(&self.maps);
        let covered = |address: &u64| state.maps.find(*address).is_some();
        let fresh = state.read.is_some_and(|read| read.elapsed() < MAPS_AGAIN_AFTER);
        if !fresh && !addresses.iter().all(covered) {
            state.read = Some(Instant::now());
            let maps = Maps::read(self.pid).unwrap_or_default();
            let same = Stat::read(self.pid).is_ok_and(|stat| self.identity.is_still(&stat));
            if same && !maps.is_empty() {
                state.maps = Arc::new(maps);
            }
        }
        Arc::clone(&state.maps)
    }
}

fn read_maps(pid: u32) -> MapsState {
    MapsState { maps: Arc::new(Maps::read(pid).unwrap_or_default()), read: Some(Instant::now()) }
}

/// Device and inode of a process's root directory.
pub(crate) fn root_of(pid: u32) -> Option<(u64, u64)> {
    fs::metadata(format!("/proc/{pid}/root")).ok().map(|root| (root.dev(), root.ino()))
}

/// Follows parents. One that started after its child has taken over the id of the real one.
fn ancestry(child: &Stat) -> Vec<Ancestor> {
    let mut ancestors = Vec::new();
    let (mut pid, mut started) = (child.parent, child.start_ticks);
    while pid != 0 && ancestors.len() < MAX_ANCESTORS {
        let Ok(stat) = Stat::read(pid) else { break };
        if stat.start_ticks > started {
            break;
        }
        ancestors.push(Ancestor { pid, comm: stat.comm });
        (pid, started) = (stat.parent, stat.start_ticks);
    }
    ancestors
}

/// Reads `/proc/PID/cgroup`: version 2 first, then whichever version 1 hierarchy names a container.
fn workload(cgroups: &str) -> Workload {
    let paths = || cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let of_v2 = cgroups.lines().find_map(|line| line.strip_prefix("0::")).map(container::of);
    let is_telling = |workload: &Workload| workload.container.is_some();
    let telling = of_v2.clone().filter(is_telling).or_else(|| paths().map(container::of).find(is_telling));
    telling.or(of_v2).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
