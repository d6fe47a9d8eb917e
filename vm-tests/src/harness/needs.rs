//! What a scenario needs of the kernel, and from which version on a lack of it is a failure.

use anyhow::Result;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, socket_with};

use super::kernel::{self, Version};
use super::{Netns, firewall, held, mptcp};

/// A feature that some kernels lack.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Its name in reports.
    pub name: &'static str,
    /// The first version that must have it. A kernel may be built without it all the same; then whoever built it decides
    /// to do without the scenario.
    pub since: Version,
    probe: fn() -> Result<(), Errno>,
}

/// IPv6 sockets.
pub const IPV6: Need = Need { name: "ipv6", since: (2, 6), probe: || try_socket(AddressFamily::INET6, None) };

/// Multipath TCP sockets. Linux has them since 5.6, but distributions built 5.10 without them.
pub const MPTCP: Need =
    Need { name: "mptcp", since: (5, 15), probe: || try_socket(AddressFamily::INET, Some(ipproto::MPTCP)) };

/// A process may watch the page faults of its own system calls.
pub const USERFAULTFD: Need = Need { name: "userfaultfd", since: (4, 3), probe: held::can_hold };

/// io_uring whose waits can be given a time.
pub const IO_URING: Need = Need {
    name: "io_uring",
    since: (5, 11),
    probe: || match io_uring::IoUring::new(1) {
        Ok(ring) if ring.params().is_feature_ext_arg() => Ok(()),
        Ok(_) => Err(Errno::OPNOTSUPP),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    },
};

/// Pairs of virtual Ethernet interfaces, a module of most distributions.
pub const VETH: Need = Need {
    name: "veth",
    since: (2, 6),
    probe: || match Netns::new().and_then(|netns| netns.wire_to_nobody()) {
        Ok(()) => Ok(()),
        Err(_) => Err(Errno::OPNOTSUPP),
    },
};

/// MPTCP's path manager, as old as MPTCP in distributions.
pub const MPTCP_PATHS: Need =
    Need { name: "MPTCP path manager", since: MPTCP.since, probe: mptcp::has_path_manager };

/// nf_tables that filters, rejects and redirects.
pub const NF_TABLES: Need = Need { name: "nf_tables", since: (4, 18), probe: firewall::is_there };

/// A shell to run as a traced command, and cgroup v2 to tell it apart by.
pub const COMMANDS: Need = Need {
    name: "bash with cgroup v2",
    since: (4, 5),
    probe: || {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let both = std::path::Path::new("/bin/bash").exists() && mounts.contains(" - cgroup2 ");
        if both { Ok(()) } else { Err(Errno::NOENT) }
    },
};

/// The kernel says why it drops a packet. No probe but the scenarios themselves shows that it does.
pub const DROP_REASONS: Need =
    Need { name: "drop reasons", since: FIRST_DROP_REASONS, probe: || at_least(FIRST_DROP_REASONS) };
const FIRST_DROP_REASONS: Version = (5, 17);

/// All mounts can be made read-only at once. Only the server's own call shows that it does.
pub const MOUNT_ATTRIBUTES: Need =
    Need { name: "mount_setattr", since: FIRST_MOUNT_ATTRIBUTES, probe: || at_least(FIRST_MOUNT_ATTRIBUTES) };
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
