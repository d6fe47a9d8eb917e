//! Routes and interfaces beyond what every namespace has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::{LinkUnspec, LinkVeth, RouteMessageBuilder};

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
}
