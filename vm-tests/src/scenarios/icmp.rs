//! ICMP errors in answer to a SYN: a router, a firewall or the peer's own kernel says no.
//!
//! In SYN_SENT every such error ends the attempt, unless the owner is inside the kernel with the socket's
//! lock in hand: then it stays behind as a soft error, for SO_ERROR to find (tcp_v4_err, tcp_v6_err; 6.18).
//! That is how it goes when the answer comes back within connect() itself, over veth and loopback.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{setsockopt, sockopt::Ipv6RecvErr};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::expect::{counted_retransmits, failure, lasted, only, only_with_stacks, owned, tuple};
use crate::harness::packets::Syn;
use crate::harness::{Ended, Held, Icmp, Lab, Netns, OWN_V6, Trace, Try, Wire, listen_deaf};

super::scenarios!["icmp":
    port_unreachable,
    host_unreachable,
    net_unreachable,
    admin_prohibited,
    protocol_unreachable,
    ipv6_port_unreachable (needs IPV6),
    ipv6_address_unreachable (needs IPV6),
    ipv6_no_route (needs IPV6),
    ipv6_admin_prohibited (needs IPV6),
    port_unreachable_while_the_owner_holds_the_socket (needs USERFAULTFD),
    host_unreachable_while_the_owner_holds_the_socket (needs USERFAULTFD),
    net_unreachable_while_the_owner_holds_the_socket (needs USERFAULTFD),
    admin_prohibited_while_the_owner_holds_the_socket (needs USERFAULTFD),
    ipv6_admin_prohibited_while_the_owner_holds_a_socket_that_asked_for_errors (needs IPV6, USERFAULTFD),
    error_that_the_application_never_looked_at (needs USERFAULTFD),
    error_that_the_kernel_reports_when_it_gives_up (needs USERFAULTFD),
];

const PORT_UNREACHABLE: Icmp = Icmp(3, 3);
const HOST_UNREACHABLE: Icmp = Icmp(3, 1);
const NET_UNREACHABLE: Icmp = Icmp(3, 0);
const ADMIN_PROHIBITED: Icmp = Icmp(3, 13);
const PROTOCOL_UNREACHABLE: Icmp = Icmp(3, 2);
const V6_PORT_UNREACHABLE: Icmp = Icmp(1, 4);
const V6_ADDRESS_UNREACHABLE: Icmp = Icmp(1, 3);
const V6_NO_ROUTE: Icmp = Icmp(1, 0);
const V6_ADMIN_PROHIBITED: Icmp = Icmp(1, 1);

/// What the application is told, and what the trace must say.
struct Expected(&'static str, Errno, &'static str);

const PORT: Expected = Expected("port_unreachable", Errno::CONNREFUSED, "ECONNREFUSED");
const HOST: Expected = Expected("host_unreachable", Errno::HOSTUNREACH, "EHOSTUNREACH");
const NET: Expected = Expected("net_unreachable", Errno::NETUNREACH, "ENETUNREACH");
/// Only ICMPv6 has an errno of its own for it (icmp_err_convert and tab_unreach; 6.18).
const DENIED: Expected = Expected("denied", Errno::ACCESS, "EACCES");
const OTHER: Expected = Expected("other", Errno::NOPROTOOPT, "ENOPROTOOPT");

fn port_unreachable(lab: &Lab) -> Result<()> {
    answered(lab, V4, PORT_UNREACHABLE, &PORT, Owner::Away)
}

fn host_unreachable(lab: &Lab) -> Result<()> {
    answered(lab, V4, HOST_UNREACHABLE, &HOST, Owner::Away)
}

fn net_unreachable(lab: &Lab) -> Result<()> {
    answered(lab, V4, NET_UNREACHABLE, &NET, Owner::Away)
}

fn admin_prohibited(lab: &Lab) -> Result<()> {
    answered(lab, V4, ADMIN_PROHIBITED, &HOST, Owner::Away)
}

fn protocol_unreachable(lab: &Lab) -> Result<()> {
    answered(lab, V4, PROTOCOL_UNREACHABLE, &OTHER, Owner::Away)
}

fn ipv6_port_unreachable(lab: &Lab) -> Result<()> {
    answered(lab, V6, V6_PORT_UNREACHABLE, &PORT, Owner::Away)
}

fn ipv6_address_unreachable(lab: &Lab) -> Result<()> {
    answered(lab, V6, V6_ADDRESS_UNREACHABLE, &HOST, Owner::Away)
}

fn ipv6_no_route(lab: &Lab) -> Result<()> {
    answered(lab, V6, V6_NO_ROUTE, &NET, Owner::Away)
}

fn ipv6_admin_prohibited(lab: &Lab) -> Result<()> {
    answered(lab, V6, V6_ADMIN_PROHIBITED, &DENIED, Owner::Away)
}

fn port_unreachable_while_the_owner_holds_the_socket(lab: &Lab) -> Result<()> {
    answered(lab, V4, PORT_UNREACHABLE, &PORT, Owner::HoldsTheSocket)
}

fn host_unreachable_while_the_owner_holds_the_socket(lab: &Lab) -> Result<()> {
    answered(lab, V4, HOST_UNREACHABLE, &HOST, Owner::HoldsTheSocket)
}

fn net_unreachable_while_the_owner_holds_the_socket(lab: &Lab) -> Result<()> {
    answered(lab, V4, NET_UNREACHABLE, &NET, Owner::HoldsTheSocket)
}

fn admin_prohibited_while_the_owner_holds_the_socket(lab: &Lab) -> Result<()> {
    answered(lab, V4, ADMIN_PROHIBITED, &HOST, Owner::HoldsTheSocket)
}

fn ipv6_admin_prohibited_while_the_owner_holds_a_socket_that_asked_for_errors(lab: &Lab) -> Result<()> {
    answered(lab, V6, V6_ADMIN_PROHIBITED, &DENIED, Owner::HoldsTheSocket)
}

/// Where the owner is when the ICMP error arrives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Away,
    HoldsTheSocket,
}

/// A silent peer of either family.
const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));
const V6: IpAddr = IpAddr::V6(OWN_V6);

/// The application looks at SO_ERROR after the answer, and closes.
fn answered(lab: &Lab, peer: IpAddr, icmp: Icmp, expected: &Expected, owner: Owner) -> Result<()> {
    let Expected(cause, errno, name) = expected;
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let (tried, peer) = netns.run("icmp", || {
        let asked = Asked::connect(peer, owner)?;
        asked.answer(icmp, owner)?;
        asked.look_and_close()
    })?;
    ensure!(tried.ended == Ended::Failed(*errno), "the application saw {tried:?}");
    let (retransmits, end) = trace.expect_end("connect.failed")?;
    failure(&end, cause, Some((name, errno.raw_os_error())))?;
    counted_retransmits(&retransmits, &end)?;
    lasted(&end, 0.0, &tried)?;
    if peer.is_ipv4() || owner == Owner::HoldsTheSocket {
        let Icmp(kind, code) = icmp;
        end.is("/tcp/connect/icmp/type", kind)?.is("/tcp/connect/icmp/code", code)?;
        // The error came from the address that the SYN came from: the namespace has no other host.
        end.is("/tcp/connect/icmp/sender", tried.local.ip().to_string())?;
    }
    tuple(&end, &tried, &peer.to_string())?;
    owned(&end, &tried, "icmp", &netns)
}

fn error_that_the_application_never_looked_at(lab: &Lab) -> Result<()> {
    let (mut trace, asked) = answered_while_held(lab)?;
    drop(asked);
    let end = trace.expect("connect.failed")?;
    failure(&end, "closed_by_app", None)?;
    end.is("/tcp/connect/soft_error", "EHOSTUNREACH")?;
    Ok(())
}

/// The soft error becomes the timeout's own (tcp_write_err; 6.18, net/ipv4/tcp_timer.c).
fn error_that_the_kernel_reports_when_it_gives_up(lab: &Lab) -> Result<()> {
    let (mut trace, asked) = answered_while_held(lab)?;
    let (_, end) = trace.expect_end("connect.failed")?;
    drop(asked);
    failure(&end, "timeout", Some(("EHOSTUNREACH", Errno::HOSTUNREACH.raw_os_error())))?;
    end.is("/tcp/connect/soft_error", "EHOSTUNREACH")?.within("/tcp/connect/duration_ms", 690.0..=3600.0)?;
    Ok(())
}

/// An attempt that has a soft error, and for which the kernel's patience ends with the first retransmit.
fn answered_while_held(lab: &Lab) -> Result<(Trace, Asked)> {
    let netns = Netns::new()?;
    let trace = lab.trace(&only_with_stacks(&netns))?;
    let asked = netns.run("icmp", || {
        let asked = Asked::connect(V4, Owner::HoldsTheSocket)?;
        asked.socket.set_tcp_user_timeout(Some(Duration::from_millis(700)))?;
        asked.answer(HOST_UNREACHABLE, Owner::HoldsTheSocket)?;
        Ok(asked)
    })?;
    Ok((trace, asked))
}

/// A connect whose SYN is on its way.
struct Asked {
    socket: Arc<Socket>,
    peer: SocketAddr,
    syn: Syn,
    begun: Instant,
    _deaf: Option<Socket>,
}

impl Asked {
    fn connect(peer: IpAddr, owner: Owner) -> Result<Self> {
        let (deaf, peer) = match peer {
            IpAddr::V4(_) => (None, SocketAddr::new(peer, 22)),
            IpAddr::V6(_) => listen_deaf(peer).map(|(deaf, peer)| (Some(deaf), peer))?,
        };
        let wire = Wire::tap(peer.ip())?;
        let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if peer.is_ipv6() && owner == Owner::HoldsTheSocket {
            // Without it the kernel keeps nothing of an ICMPv6 error but what SO_ERROR consumes (ipv6_icmp_error;
            // 6.18, net/ipv6/datagram.c).
            setsockopt(&socket, Ipv6RecvErr, &true)?;
        }
        let begun = Instant::now();
        let error = socket.connect(&peer.into()).err().context("the peer should be silent")?;
        ensure!(Errno::from_io_error(&error) == Some(Errno::INPROGRESS), "{error}");
        let syn = wire.next_syn()?;
        Ok(Self { socket: Arc::new(socket), peer, syn, begun, _deaf: deaf })
    }

    fn answer(&self, icmp: Icmp, owner: Owner) -> Result<()> {
        let _held = (owner == Owner::HoldsTheSocket).then(|| Held::lock(&self.socket)).transpose()?;
        self.syn.answer(icmp)
    }

    /// A busy kernel delivers the answer some time after it was sent.
    fn error(&self) -> Result<io::Error> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if let Some(error) = self.socket.take_error()? {
                return Ok(error);
            }
            thread::sleep(Duration::from_millis(1));
        }
        bail!("no error reached the socket")
    }

    fn look_and_close(self) -> Result<(Try, SocketAddr)> {
        let local = self.syn.source();
        let error = self.error()?;
        drop(self.socket);
        let ended = Ended::Failed(Errno::from_io_error(&error).context("not an errno")?);
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        Ok((Try { ended, local, tid, took: self.begun.elapsed() }, self.peer))
    }
}
