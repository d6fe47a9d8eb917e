//! The twelve failures, each in a network namespace of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;

use crate::harness::{
    Actor, Connect, DenyingCgroup, Ended, Fate, Icmp, Netns, Try, Which, Wire, listen_deaf,
    listen_with_backlog,
};
use crate::scenarios::half_close;

/// One way to fail.
pub(super) struct Failure {
    pub name: &'static str,
    pub title: &'static str,
    /// One of them on a line names the error that the application was given.
    pub error: &'static [&'static str],
    /// One of them on a line tells what was behind it.
    pub why: &'static [&'static str],
    /// Makes everything ready, and returns what then makes the attempt.
    pub prepare: fn() -> Result<Attempt>,
}

pub(super) type Attempt = Box<dyn FnOnce() -> Result<Made> + Send>;

/// An attempt as it was made; a tool's lines are held against it.
#[derive(Debug)]
pub(super) struct Made {
    pub peer_port: u16,
    pub local_port: Option<u16>,
    /// The name of its thread, and of no other; nothing that a tool could mean by itself.
    pub mark: String,
    pub pid: u32,
    pub retransmits: u64,
    pub established: bool,
}

pub(super) const FAILURES: &[Failure] = &[
    Failure {
        name: "silent",
        title: "silent peer, timeout",
        error: &["ETIMEDOUT", "-110"],
        why: &["timeout", "timed out"],
        prepare: silent,
    },
    Failure {
        name: "refused",
        title: "refused by a reset",
        error: &["ECONNREFUSED", "-111"],
        why: &["refused", "reset", "RST"],
        prepare: refused,
    },
    Failure {
        name: "icmp",
        title: "refused by ICMP, host unreachable",
        error: &["EHOSTUNREACH", "-113"],
        why: &["icmp", "ICMP"],
        prepare: icmp,
    },
    Failure {
        name: "stale",
        title: "port collides with an old connection",
        error: &[],
        why: &["challenge", "stale"],
        prepare: stale,
    },
    Failure {
        name: "mesh",
        title: "the same, behind a REDIRECT",
        error: &[],
        why: &["challenge", "stale"],
        prepare: mesh,
    },
    Failure {
        name: "no-port",
        title: "no local port left",
        error: &["EADDRNOTAVAIL", "-99"],
        why: &["EADDRNOTAVAIL", "-99", "no_local_port"],
        prepare: no_port,
    },
    Failure {
        name: "denied",
        title: "denied by the cgroup's policy",
        error: &["EPERM", " -1 "],
        why: &["denied"],
        prepare: denied,
    },
    Failure {
        name: "no-route",
        title: "no route",
        error: &["ENETUNREACH", "-101"],
        why: &["ENETUNREACH", "-101", "no_route"],
        prepare: no_route,
    },
    Failure {
        name: "gave-up",
        title: "the application gave up",
        error: &[],
        why: &["closed_by_app"],
        prepare: gave_up,
    },
    Failure {
        name: "dropped",
        title: "dropped by this host's firewall",
        error: &["ETIMEDOUT", "-110"],
        why: &["NETFILTER_DROP", "nf_hook", "nft_do_chain"],
        prepare: dropped,
    },
    Failure {
        name: "overflow",
        title: "listener's queue full, on this host",
        error: &[],
        why: &["\"full\":true", "overflow"],
        prepare: overflow,
    },
    Failure {
        name: "late",
        title: "established by the second SYN or later",
        error: &[],
        why: &[],
        prepare: late,
    },
];

const PATIENCE: Duration = Duration::from_millis(2500);
/// It never answers.
const SILENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

fn silent() -> Result<Attempt> {
    let netns = impatient()?;
    Ok(Box::new(move || attempt(&netns, "try-a", (SILENT, 7201).into(), Errno::TIMEDOUT)))
}

fn refused() -> Result<Attempt> {
    let netns = Netns::new()?;
    let peer = (Ipv4Addr::LOCALHOST, 7202).into();
    Ok(Box::new(move || attempt(&netns, "try-b", peer, Errno::CONNREFUSED)))
}

/// A router answers.
fn icmp() -> Result<Attempt> {
    let netns = Netns::new()?;
    let wire = netns.run("router", || Wire::tap(SILENT.into()))?;
    Ok(Box::new(move || {
        let router = thread::spawn(move || wire.next_syn());
        let connecting = thread::scope(|scope| {
            let attempt = scope.spawn(|| netns.run("try-c", || Connect::to((SILENT, 7203).into()).run()));
            let syn = router.join().ok().context("the router panicked")??;
            netns.run("router", || syn.answer(Icmp(3, 1)))?;
            attempt.join().ok().context("the attempt panicked")?
        })?;
        made(&netns, "try-c", 7203, &connecting, Ended::Failed(Errno::HOSTUNREACH))
    }))
}

fn stale() -> Result<Attempt> {
    let port = 7204;
    collision(
        "try-d",
        port,
        (Ipv4Addr::LOCALHOST, port).into(),
        &[(&[Which::Reset, Which::Port(port)], Fate::Dropped)],
    )
}

fn mesh() -> Result<Attempt> {
    let (port, proxy) = (7205, 15001);
    let rules: &[(&[Which], Fate)] = &[
        (&[Which::To(SILENT), Which::Port(port)], Fate::RedirectedTo(proxy)),
        (&[Which::Reset, Which::Port(proxy)], Fate::Dropped),
    ];
    collision("try-e", port, (SILENT, port).into(), rules)
}

/// The peer, or its proxy, has half closed an old connection whose client is gone; the port is used again.
fn collision(
    comm: &'static str,
    port: u16,
    service: SocketAddr,
    rules: &[(&[Which], Fate)],
) -> Result<Attempt> {
    let netns = Netns::new()?;
    netns.firewall(rules)?;
    let listens = if service.ip() == Ipv4Addr::LOCALHOST { port } else { 15001 };
    if listens != port {
        for state in ["fin_wait", "close_wait"] {
            netns.sysctl(&format!("netfilter/nf_conntrack_tcp_timeout_{state}"), "1")?;
        }
    }
    let (local, twin) = netns.run("old", || half_close(service, &format!("127.0.0.1:{listens}")))?;
    thread::sleep(Duration::from_millis(1500));
    Ok(Box::new(move || {
        let _twin = twin;
        let connect = Connect::to(service).from(local).giving_up_after(PATIENCE);
        let tried = netns.run(comm, || connect.run())?;
        made(&netns, comm, port, &tried, Ended::GaveUp)
    }))
}

fn no_port() -> Result<Attempt> {
    let netns = Netns::new()?;
    netns.sysctl("ipv4/ip_local_port_range", "40000 40000")?;
    let taken = netns.run("taken", || Ok(TcpListener::bind("0.0.0.0:40000")?))?;
    Ok(Box::new(move || {
        let _taken = taken;
        attempt(&netns, "try-f", (SILENT, 7206).into(), Errno::ADDRNOTAVAIL)
    }))
}

fn denied() -> Result<Attempt> {
    let netns = Netns::new()?;
    let cgroup = DenyingCgroup::new()?;
    Ok(Box::new(move || {
        let mut actor = Actor::connect_from(cgroup.cgroup(), &netns, &format!("{SILENT}:7207"), PATIENCE)?;
        actor.wait()?;
        let pid = actor.pid();
        Ok(Made {
            peer_port: 7207,
            local_port: None,
            mark: "from-cgroup".to_owned(),
            pid,
            retransmits: 0,
            established: false,
        })
    }))
}

fn no_route() -> Result<Attempt> {
    let netns = Netns::new()?;
    let nowhere = (Ipv4Addr::new(198, 51, 100, 1), 7208).into();
    Ok(Box::new(move || attempt(&netns, "try-g", nowhere, Errno::NETUNREACH)))
}

fn gave_up() -> Result<Attempt> {
    let netns = Netns::new()?;
    Ok(Box::new(move || {
        let connect = Connect::to((SILENT, 7209).into()).giving_up_after(PATIENCE);
        let tried = netns.run("try-h", || connect.run())?;
        made(&netns, "try-h", 7209, &tried, Ended::GaveUp)
    }))
}

fn dropped() -> Result<Attempt> {
    let netns = impatient()?;
    netns.firewall(&[(&[Which::To(SILENT)], Fate::Dropped)])?;
    Ok(Box::new(move || attempt(&netns, "try-i", (SILENT, 7210).into(), Errno::TIMEDOUT)))
}

fn overflow() -> Result<Attempt> {
    let netns = Netns::new()?;
    let (listener, peer) = netns.run("listener", || listen_with_backlog(0))?;
    let waiting = netns.run("old", || Ok(TcpStream::connect(peer)?))?;
    Ok(Box::new(move || {
        let _held = (listener, waiting);
        let tried = netns.run("try-j", || Connect::to(peer).giving_up_after(PATIENCE).run())?;
        made(&netns, "try-j", peer.port(), &tried, Ended::GaveUp)
    }))
}

/// The peer begins to listen after the first SYN.
fn late() -> Result<Attempt> {
    let netns = Netns::new()?;
    let (deaf, peer) = netns.run("listener", || listen_deaf(Ipv4Addr::LOCALHOST.into()))?;
    Ok(Box::new(move || {
        let tried = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(500));
                deaf.detach_filter()
            });
            netns.run("try-k", || Connect::to(peer).giving_up_after(Duration::from_secs(10)).run())
        })?;
        made(&netns, "try-k", peer.port(), &tried, Ended::Connected)
    }))
}

/// A namespace whose kernel sends a SYN again once only.
fn impatient() -> Result<Netns> {
    let netns = Netns::new()?;
    netns.sysctl("ipv4/tcp_syn_retries", "1")?;
    Ok(netns)
}

fn attempt(netns: &Netns, comm: &str, peer: SocketAddr, error: Errno) -> Result<Made> {
    let tried = netns.run(comm, || Connect::to(peer).run())?;
    made(netns, comm, peer.port(), &tried, Ended::Failed(error))
}

fn made(netns: &Netns, comm: &str, peer_port: u16, tried: &Try, expected: Ended) -> Result<Made> {
    ensure!(tried.ended == expected, "{comm} should end as {expected:?}: {tried:?}");
    let port = tried.local.port();
    Ok(Made {
        peer_port,
        local_port: (port != 0).then_some(port),
        mark: comm.to_owned(),
        pid: std::process::id(),
        retransmits: netns.run("netstat", syns_sent_again)?,
        established: tried.ended == Ended::Connected,
    })
}

/// Of this namespace, by the kernel's own count.
fn syns_sent_again() -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/netstat")?;
    let mut rows = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (rows.next().context("no TcpExt")?, rows.next().context("no TcpExt")?);
    let mut columns = names.split(' ').zip(values.split(' '));
    let (_, count) = columns.find(|(name, _)| *name == "TCPSynRetrans").context("no TCPSynRetrans")?;
    Ok(count.parse()?)
}
