//! Routes and interfaces beyond what every namespace has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::{LinkUnspec, LinkVeth, RouteMessageBuilder};
use rustix::io::Errno;

use super::Netns;
use super::netns::ask;

/// A network behind [`Netns::wire_to_nobody`]: nobody has its addresses.
pub const NEIGHBOURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 0);
const OWN_ON_WIRE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

impl Netns {
    /// Gives one host a route that says no: `Prohibit`, `Unreachable` or `BlackHole`.
    pub fn forbid(&self, host: IpAddr, kind: RouteType) -> Result<()> {
        let route = match host {
            IpAddr::V4(host) => {
                RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(host, 32).kind(kind).build()
            }
            IpAddr::V6(host) => {
                RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(host, 128).kind(kind).build()
            }
        };
        self.run("route", || ask(async |handle| Ok(handle.route().add(route).execute().await?)))
            .with_context(|| format!("a {kind:?} route to {host}"))
    }

    /// Raises a veth pair whose far end has no address, and the network [`NEIGHBOURS`] on the near one.
    pub fn wire_to_nobody(&self) -> Result<()> {
        self.run("wire", || {
            ask(async |handle| {
                handle.link().add(LinkVeth::new("near", "far").up().build()).execute().await?;
                handle.link().set(LinkUnspec::new_with_name("far").up().build()).execute().await?;
                let index = if_nametoindex("near")?;
                Ok(handle.address().add(index, OWN_ON_WIRE.into(), 24).execute().await?)
            })
        })
        .context("a veth pair")
    }

    /// Lets MPTCP connections of the namespace take a second path, from [`SECOND_PATH`].
    pub fn second_path(&self) -> Result<()> {
        self.run("mptcp", || {
            let endpoint = ["mptcp", "endpoint", "add", SECOND_PATH, "dev", "lo", "subflow"];
            let output = Command::new("ip").args(endpoint).stdin(Stdio::null()).output()?;
            let complaint = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "ip {endpoint:?}: {complaint}");
            Ok(())
        })
    }
}

/// An address of every namespace beside 127.0.0.1.
pub const SECOND_PATH: &str = "10.99.0.1";

/// Whether MPTCP's path manager is there, and `ip` to speak with it.
pub fn has_path_manager() -> Result<(), Errno> {
    let asked = Command::new("ip").args(["mptcp", "limits", "show"]).stdin(Stdio::null()).output();
    let output = asked.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOENT))?;
    if output.status.success() { Ok(()) } else { Err(Errno::OPNOTSUPP) }
}
