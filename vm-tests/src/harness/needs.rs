//! What a scenario needs of the kernel, and from which version on a lack of it is a failure.

use anyhow::Result;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, socket_with};

use super::kernel::{self, Version};
use super::{Netns, firewall, held, wiring};

/// A feature that some kernels lack.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Its name in reports.
    pub name: &'static str,
    /// The first version that must have it; `None` for what a machine may go without at any version: a module
    /// or a tool that is not installed.
    pub since: Option<Version>,
    probe: fn() -> Result<(), Errno>,
}

/// IPv6 sockets.
pub const IPV6: Need =
    Need { name: "ipv6", since: Some((2, 6)), probe: || try_socket(AddressFamily::INET6, None) };

/// Multipath TCP sockets. Linux has them since 5.6, but distributions built 5.10 without them.
pub const MPTCP: Need = Need {
    name: "mptcp",
    since: Some((5, 15)),
    probe: || try_socket(AddressFamily::INET, Some(ipproto::MPTCP)),
};

/// A process may watch the page faults of its own system calls.
pub const USERFAULTFD: Need = Need { name: "userfaultfd", since: Some((4, 3)), probe: held::can_hold };

/// io_uring whose waits can be given a time.
pub const IO_URING: Need = Need {
    name: "io_uring",
    since: Some((5, 11)),
    probe: || match io_uring::IoUring::new(1) {
        Ok(ring) if ring.params().is_feature_ext_arg() => Ok(()),
        Ok(_) => Err(Errno::OPNOTSUPP),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    },
};

/// Pairs of virtual Ethernet interfaces, a module of most distributions.
pub const VETH: Need = Need {
    name: "veth",
    since: None,
    probe: || match Netns::new().and_then(|netns| netns.wire_to_nobody()) {
        Ok(()) => Ok(()),
        Err(_) => Err(Errno::OPNOTSUPP),
    },
};

/// MPTCP's path manager, and `ip` to set it up with.
pub const IP_MPTCP: Need = Need { name: "ip mptcp", since: None, probe: wiring::has_path_manager };

/// nf_tables, and `nft` to use it with.
pub const NFT: Need = Need { name: "nft", since: None, probe: firewall::is_there };

/// A shell to run as a traced command, and cgroup v2 to tell it apart by.
pub const COMMANDS: Need = Need {
    name: "bash with cgroup v2",
    since: None,
    probe: || {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let both = std::path::Path::new("/bin/bash").exists() && mounts.contains(" - cgroup2 ");
        if both { Ok(()) } else { Err(Errno::NOENT) }
    },
};

/// The kernel says why it drops a packet. No probe but the scenarios themselves shows that it does.
pub const DROP_REASONS: Need = Need {
    name: "drop reasons",
    since: Some(FIRST_DROP_REASONS),
    probe: || match kernel::version() {
        Ok(version) if version >= FIRST_DROP_REASONS => Ok(()),
        _ => Err(Errno::OPNOTSUPP),
    },
};
const FIRST_DROP_REASONS: Version = (5, 17);

/// A feature that is missing here.
#[derive(Clone, Debug)]
pub struct Lack {
    /// The feature, the error that told, and the version that should have it.
    pub reason: String,
    /// Whether the kernel is older than the feature, or need not have it at all.
    pub excused: bool,
}

impl Need {
    /// Looks for the feature in the running kernel.
    pub fn check(&self) -> Result<Option<Lack>> {
        let Err(error) = (self.probe)() else { return Ok(None) };
        let lacks = format!("no {} here ({error})", self.name);
        Ok(Some(match self.since {
            None => Lack { reason: format!("{lacks}; it is not part of every machine"), excused: true },
            Some(since) => Lack {
                reason: format!("{lacks}; kernels must have it since {}.{}", since.0, since.1),
                excused: kernel::version()? < since,
            },
        }))
    }
}

fn try_socket(family: AddressFamily, protocol: Option<Protocol>) -> Result<(), Errno> {
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, protocol).map(drop)
}
