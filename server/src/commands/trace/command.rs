//! The command behind `--`: it runs in a cgroup of its own, which its children inherit, so that the kernel can tell
//! their connections from all others.

use std::{
    fs, io,
    os::unix::{fs::MetadataExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus},
};

use rustix::process::{Pid, Signal, kill_process};
use synscope_tracer::cgroups;
use tokio::process::{Child, Command};

use crate::Failure;

/// A cgroup below that of this process, removed with the value.
pub(super) struct OwnCgroup {
    outer: PathBuf,
    path: PathBuf,
    id: u64,
}

impl OwnCgroup {
    pub(super) fn new() -> Result<Self, Failure> {
        Self::create().map_err(|error| {
            let problem = format!("cannot make a cgroup for the command: {error}");
            let remedy = "it takes root and a writable cgroup v2 (`mount -t cgroup2 none /sys/fs/cgroup`); or start \
                          the command apart, and trace it with --pid or --comm";
            Failure::new(problem, remedy)
        })
    }

    fn create() -> io::Result<Self> {
        let none = || io::Error::new(io::ErrorKind::NotFound, "cgroup v2 is not mounted");
        let root = cgroups::mount_point().ok_or_else(none)?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).ok_or_else(none)?;
        let outer = root.join(own);
        let path = outer.join(format!("synscope-{}", std::process::id()));
        fs::create_dir(&path)?;
        let id = fs::metadata(&path)?.ino();
        Ok(Self { outer, path, id })
    }

    /// As the kernel's filter takes it.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Starts the command within. A child begins in its parent's cgroup, so this process goes there for a moment: the
    /// command cannot connect before it is inside.
    pub(super) fn spawn(&self, command: &[String]) -> Result<Child, CannotRun> {
        let (program, arguments) = command.split_first().ok_or(CannotRun::default())?;
        let spawned = enter(&self.path, std::process::id())
            .and_then(|()| Command::new(program).args(arguments).spawn());
        let back = enter(&self.outer, std::process::id());
        let child = spawned.and_then(|child| back.map(|()| child));
        child.map_err(|error| CannotRun { program: program.clone(), error: Some(error) })
    }
}

fn enter(cgroup: &Path, pid: u32) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), pid.to_string())
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        // Processes that outlive the command stay where they would have been without a trace.
        let left = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        for pid in left.lines().filter_map(|pid| pid.parse().ok()) {
            let _ = enter(&self.outer, pid);
        }
        let _ = fs::remove_dir(&self.path);
    }
}

/// The command did not start.
#[derive(Debug, Default)]
pub(super) struct CannotRun {
    program: String,
    error: Option<io::Error>,
}

impl CannotRun {
    /// Says so, and ends as shells and env(1) do.
    pub(super) fn exit_code(&self) -> ExitCode {
        let Some(error) = &self.error else { return ExitCode::FAILURE };
        eprintln!("synscope: cannot run `{}`: {error}", self.program);
        if error.kind() == io::ErrorKind::NotFound { ExitCode::from(127) } else { ExitCode::from(126) }
    }
}

/// Hands a signal on.
pub(super) fn terminate(child: &Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended just now.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// As a shell reports it: the code, or 128 and the number of the signal.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_ends_as_a_shell_would_say() {
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), ExitCode::from(7));
        assert_eq!(exit_code(ExitStatus::from_raw(15)), ExitCode::from(143));
    }
}
