//! What a scenario needs of the kernel, and from which version on a lack of it is a failure.

use anyhow::Result;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, socket_with};

use super::kernel::{self, Version};
use super::{Netns, firewall, held, listing, mptcp};
use crate::vm::modules;

/// A feature that some kernels lack.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Its name in reports.
    pub name: &'static str,
    /// The first version that must have it. A kernel may be built without it all the same; then whoever built it decides
    /// to do without the scenario.
    pub since: Version,
    /// Whether distributions build it as a module: an image that comes without modules is excused from it.
    pub is_module: bool,
    probe: fn() -> Result<(), Errno>,
}

impl Need {
    const fn new(name: &'static str, since: Version, probe: fn() -> Result<(), Errno>) -> Self {
        Self { name, since, is_module: false, probe }
    }

    const fn module(name: &'static str, since: Version, probe: fn() -> Result<(), Errno>) -> Self {
        Self { is_module: true, ..Self::new(name, since, probe) }
    }
}

/// IPv6 sockets.
pub const IPV6: Need = Need::new("ipv6", (2, 6), || try_socket(AddressFamily::INET6, None));

/// Multipath TCP sockets. Linux has them since 5.6, but distributions built 5.10 without them.
pub const MPTCP: Need = Need::new("mptcp", (5, 15), || try_socket(AddressFamily::INET, Some(ipproto::MPTCP)));

/// A process may watch the page faults of its own system calls.
pub const USERFAULTFD: Need = Need::new("userfaultfd", (4, 3), held::can_hold);

/// io_uring whose waits can be given a time.
pub const IO_URING: Need = Need::new("io_uring", (5, 11), || match io_uring::IoUring::new(1) {
    Ok(ring) if ring.params().is_feature_ext_arg() => Ok(()),
    Ok(_) => Err(Errno::OPNOTSUPP),
    Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
});

/// Pairs of virtual Ethernet interfaces.
pub const VETH: Need =
    Need::module("veth", (2, 6), || match Netns::new().and_then(|netns| netns.wire_to_nobody()) {
        Ok(()) => Ok(()),
        Err(_) => Err(Errno::OPNOTSUPP),
    });

/// The kernel lists its TCP sockets.
pub const SOCKET_LISTING: Need = Need::module("tcp_diag", (3, 3), listing::is_there);

/// MPTCP's path manager, as old as MPTCP in distributions.
pub const MPTCP_PATHS: Need = Need::new("MPTCP path manager", MPTCP.since, mptcp::has_path_manager);

/// nf_tables that filters, rejects and redirects.
pub const NF_TABLES: Need = Need::module("nf_tables", (4, 18), firewall::is_there);

/// A shell to run as a traced command, and cgroup v2 to tell it apart by.
pub const COMMANDS: Need = Need::new("bash with cgroup v2", (4, 5), || {
    // A path in it may be any bytes.
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let has_cgroups = String::from_utf8_lossy(&mounts).contains(" - cgroup2 ");
    let both = std::path::Path::new("/bin/bash").exists() && has_cgroups;
    if both { Ok(()) } else { Err(Errno::NOENT) }
});

/// The kernel says why it drops a packet. No probe but the scenarios themselves shows that it does.
pub const DROP_REASONS: Need = Need::new("drop reasons", FIRST_DROP_REASONS, || at_least(FIRST_DROP_REASONS));
const FIRST_DROP_REASONS: Version = (5, 17);

/// All mounts can be made read-only at once. Only the server's own call shows that it does.
pub const MOUNT_ATTRIBUTES: Need =
    Need::new("mount_setattr", FIRST_MOUNT_ATTRIBUTES, || at_least(FIRST_MOUNT_ATTRIBUTES));
const FIRST_MOUNT_ATTRIBUTES: Version = (5, 12);

/// A feature that is missing here.
#[derive(Clone, Debug)]
pub struct Lack {
    /// The feature, the error that told, and the version that should have it.
    pub reason: String,
    /// Whether the kernel is older than the feature.
    pub excused: bool,
}

impl Need {
    /// Looks for the feature in the running kernel.
    pub fn check(&self) -> Result<Option<Lack>> {
        let Err(error) = (self.probe)() else { return Ok(None) };
        let (name, (major, minor)) = (self.name, self.since);
        if self.is_module && modules::are_absent() {
            let reason = format!("no {name} here ({error}): the image comes without modules");
            return Ok(Some(Lack { reason, excused: true }));
        }
        Ok(Some(Lack {
            reason: format!("no {name} here ({error}); kernels must have it since {major}.{minor}"),
            excused: kernel::version()? < self.since,
        }))
    }
}

/// For what only the kernel's version tells.
fn at_least(first: Version) -> Result<(), Errno> {
    match kernel::version() {
        Ok(version) if version >= first => Ok(()),
        _ => Err(Errno::OPNOTSUPP),
    }
}

fn try_socket(family: AddressFamily, protocol: Option<Protocol>) -> Result<(), Errno> {
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, protocol).map(drop)
}
