//! Whether programs still hang where they were hung. The kernel takes none of them away by itself, and refuses to
//! detach links of tracepoints by their number. But who may trace this process can close its descriptors, and a
//! program whose link is closed tells nothing more.

use std::{
    collections::{BTreeMap, BTreeSet},
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
        let mut probes: BTreeMap<u64, &Probe> = ids.collect::<io::Result<_>>()?;
        let mut watched = Vec::new();
        // The links are new, and other traces may have many.
        for fd in links()?.into_iter().rev() {
            if probes.is_empty() {
                break;
            }
            let Some(info) = Info::of(fd)? else { continue };
            let probe = info.field("prog_id:").and_then(|id| probes.remove(&id));
            if let (Some(probe), Some(link)) = (probe, info.field("link_id:")) {
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

/// This process's descriptors of BPF links, in order.
fn links() -> io::Result<BTreeSet<RawFd>> {
    let mut links = BTreeSet::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // Other threads close theirs at any time.
        if fs::read_link(entry.path()).is_ok_and(|it| it.to_string_lossy().contains("bpf_link")) {
            links.extend(entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
        }
    }
    Ok(links)
}

/// A number that the kernel tells of a descriptor of this process, by its name with the colon; `None` as well when it is
/// closed.
pub(crate) fn field(fd: RawFd, name: &str) -> io::Result<Option<u64>> {
    Ok(Info::of(fd)?.and_then(|info| info.field(name)))
}

/// All that the kernel tells of a descriptor of this process.
struct Info(String);

impl Info {
    /// `None` when it is closed.
    fn of(fd: RawFd) -> io::Result<Option<Self>> {
        match fs::read_to_string(format!("/proc/self/fdinfo/{fd}")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            info => Ok(Some(Self(info?))),
        }
    }

    /// A number by its name with the colon.
    fn field(&self, name: &str) -> Option<u64> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }
}
