//! What a scenario needs of the kernel, and from which version on a lack of it is a failure.

use anyhow::Result;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, socket_with};

use super::kernel::{self, Version};

/// A feature that some kernels lack.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Its name in reports.
    pub name: &'static str,
    /// The first version that must have it.
    pub since: Version,
    probe: fn() -> Result<(), Errno>,
}

/// IPv6 sockets.
pub const IPV6: Need = Need { name: "ipv6", since: (2, 6), probe: || try_socket(AddressFamily::INET6, None) };

/// Multipath TCP sockets. Linux has them since 5.6, but distributions built 5.10 without them.
pub const MPTCP: Need =
    Need { name: "mptcp", since: (5, 15), probe: || try_socket(AddressFamily::INET, Some(ipproto::MPTCP)) };

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
        let (major, minor) = self.since;
        Ok(Some(Lack {
            reason: format!("no {} here ({error}); kernels must have it since {major}.{minor}", self.name),
            excused: kernel::version()? < self.since,
        }))
    }
}

fn try_socket(family: AddressFamily, protocol: Option<Protocol>) -> Result<(), Errno> {
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, protocol).map(drop)
}
