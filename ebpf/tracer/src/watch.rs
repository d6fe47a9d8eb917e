//! Whether programs still hang where they were hung. The kernel takes none of them away by itself, and refuses to
//! detach links of tracepoints by their number. But who may trace this process can close its descriptors, and a
//! program whose link is closed tells nothing more.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
};

use aya::programs::ProgramFd;

use crate::layout::Probe;

/// A descriptor that keeps a program at its hook.
struct Watched {
    fd: RawFd,
    link: u64,
    probe: &'static Probe,
}

/// Knows the links of a trace.
pub(crate) struct Watch(Vec<Watched>);

impl Watch {
    /// Finds the links of these programs among this process's descriptors. Before Linux 5.15 those of system calls are
    /// not links of BPF, and are not watched.
    pub(crate) fn over(programs: &[(&'static Probe, ProgramFd)]) -> io::Result<Self> {
        let ids = programs.iter().map(|(probe, fd)| {
            let id = field(fd.as_fd().as_raw_fd(), "prog_id:")?.ok_or_else(no_number)?;
            Ok((id, *probe))
        });
        let probes: BTreeMap<u64, &Probe> = ids.collect::<io::Result<_>>()?;
        let mut watched = Vec::new();
        for entry in fs::read_dir("/proc/self/fd")? {
            let entry = entry?;
            let is_bpf = fs::read_link(entry.path()).is_ok_and(|it| it.to_string_lossy().contains("bpf"));
            let fd = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(fd) = fd.filter(|_| is_bpf) else { continue };
            let probe = field(fd, "prog_id:")?.and_then(|id| probes.get(&id));
            if let (Some(probe), Some(link)) = (probe, field(fd, "link_id:")?) {
                watched.push(Watched { fd, link, probe });
            }
        }
        Ok(Self(watched))
    }

    /// A hook whose program hangs there no more. It is told once.
    pub(crate) fn lost(&mut self) -> Option<&'static Probe> {
        // A process without descriptors to spare cannot look.
        let is_lost = |it: &Watched| field(it.fd, "link_id:").is_ok_and(|link| link != Some(it.link));
        let lost = self.0.iter().position(is_lost)?;
        Some(self.0.swap_remove(lost).probe)
    }
}

fn no_number() -> io::Error {
    io::Error::other("the kernel does not tell the number of a program")
}

/// What the kernel tells of a descriptor of this process; `None` as well when it is closed, as other threads do with
/// theirs at any time.
pub(crate) fn field(fd: RawFd, name: &str) -> io::Result<Option<u64>> {
    let info = match fs::read_to_string(format!("/proc/self/fdinfo/{fd}")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        info => info?,
    };
    Ok(info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()))
}
