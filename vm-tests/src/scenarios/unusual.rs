//! Connections asked for in other ways than a plain connect().

use std::io::{IoSlice, Read};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use io_uring::{IoUring, opcode, types};
use nix::libc::MSG_FASTOPEN;
use rustix::io::Errno;
use serde_json::json;
use socket2::{Domain, MsgHdr, Protocol, SockAddr, Socket, Type};

use super::expect::{counted_retransmits, failure, only, only_with_stacks, only_with_starts, owned, tuple};
use crate::harness::mptcp::SECOND_PATH;
use crate::harness::{Actor, Ended, Lab, Netns, Try, listen};

super::scenarios!["unusual":
    fast_open_that_is_refused,
    fast_open_that_succeeds,
    io_uring_connect_that_is_refused (needs IO_URING),
    io_uring_connect_to_a_silent_peer (needs IO_URING),
    socket_that_a_child_keeps_open,
    subflow_that_the_kernel_opens_itself (needs MPTCP_PATHS),
];

fn tcp_socket() -> Result<Socket> {
    Ok(Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?)
}

fn this_thread() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// Sends the first bytes with the SYN, without a cookie.
fn send_fast_open(socket: &Socket, peer: SocketAddr) -> std::io::Result<usize> {
    let (peer, bytes) = (SockAddr::from(peer), [IoSlice::new(b"hello")]);
    socket.sendmsg(&MsgHdr::new().with_addr(&peer).with_buffers(&bytes), MSG_FASTOPEN)
}

/// Both ends may, and need no cookie of each other.
const WITHOUT_COOKIES: &str = "1543";

fn fast_open_that_is_refused(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    netns.sysctl("ipv4/tcp_fastopen", WITHOUT_COOKIES)?;
    let mut trace = lab.trace(&only(&netns))?;
    let peer = SocketAddr::from(([127, 0, 0, 1], 81));
    let tid = netns.run("fast-open", || {
        let refused = send_fast_open(&tcp_socket()?, peer).err().context("nobody listens")?;
        ensure!(Errno::from_io_error(&refused) == Some(Errno::CONNREFUSED), "{refused}");
        Ok(this_thread())
    })?;
    let end = trace.expect("connect.failed")?;
    failure(&end, "refused", Some(("ECONNREFUSED", 111)))?;
    end.is("/process/tid", tid)?
        .is("/process/comm", "fast-open")?
        .is("/network/peer/port", 81)?
        .is("/tcp/connect/syn_retransmits", 0)?;
    Ok(())
}

fn fast_open_that_succeeds(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    netns.sysctl("ipv4/tcp_fastopen", WITHOUT_COOKIES)?;
    let mut trace = lab.trace(&only_with_starts(&netns))?;
    let tid = netns.run("fast-open", || {
        let (_listener, peer) = listen("127.0.0.1")?;
        let sent = send_fast_open(&tcp_socket()?, peer)?;
        ensure!(sent == 5, "sent {sent} bytes");
        Ok(this_thread())
    })?;
    trace.expect("connect.start")?.is("/process/tid", tid)?;
    trace.expect("connect.established")?.is("/process/tid", tid)?.is("/tcp/connect/syn_retransmits", 0)?;
    Ok(())
}

/// One connect through a ring of its own; `None` when it is not over after `patience`.
fn connect_by_ring(socket: &Socket, peer: SocketAddr, patience: Duration) -> Result<Option<i32>> {
    let mut ring = IoUring::new(2)?;
    let address = SockAddr::from(peer);
    let connect = opcode::Connect::new(types::Fd(socket.as_raw_fd()), address.as_ptr().cast(), address.len());
    // SAFETY: socket and address live until the ring is dropped, which ends whatever it still does.
    unsafe { ring.submission().push(&connect.build()) }?;
    let limit = types::Timespec::new().nsec(patience.subsec_nanos()).sec(patience.as_secs());
    let arguments = types::SubmitArgs::new().timespec(&limit);
    match ring.submitter().submit_with_args(1, &arguments) {
        Ok(_) => Ok(ring.completion().next().map(|entry| entry.result())),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::TIME) => Ok(None),
        Err(error) => Err(error).context("waiting for the ring"),
    }
}

fn io_uring_connect_that_is_refused(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_stacks(&netns))?;
    let peer = SocketAddr::from(([127, 0, 0, 1], 81));
    let tid = netns.run("ring", || {
        let result = connect_by_ring(&tcp_socket()?, peer, Duration::from_secs(10))?;
        ensure!(result == Some(-Errno::CONNREFUSED.raw_os_error()), "{result:?}");
        Ok(this_thread())
    })?;
    let end = trace.expect("connect.failed")?;
    failure(&end, "refused", Some(("ECONNREFUSED", 111)))?;
    end.is("/process/pid", std::process::id())?
        .is("/process/tid", tid)?
        .is("/process/comm", "ring")?
        .is("/network/peer/port", 81)?;
    Ok(())
}

fn io_uring_connect_to_a_silent_peer(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let peer = SocketAddr::from(([203, 0, 113, 7], 22));
    let tid = netns.run("ring", || {
        let result = connect_by_ring(&tcp_socket()?, peer, Duration::from_millis(1500))?;
        ensure!(result.is_none(), "{result:?}");
        Ok(this_thread())
    })?;
    let (retransmits, end) = trace.expect_end("connect.failed")?;
    ensure!(!retransmits.is_empty(), "one SYN in 1.5 seconds");
    counted_retransmits(&retransmits, &end)?;
    failure(&end, "closed_by_app", None)?;
    // A kernel worker takes the ring apart and closes the socket, whenever it gets to it (io_ring_exit_work; 6.18).
    end.is("/process/tid", tid)?
        .is("/process/comm", "ring")?
        .is("/network/peer/address", "203.0.113.7")?
        .within("/tcp/connect/duration_ms", 1490.0..=f64::MAX)?;
    Ok(())
}

/// The attempt lasts until nobody holds the socket, and stays with the one who called connect().
fn socket_that_a_child_keeps_open(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    let peer = SocketAddr::from(([203, 0, 113, 7], 22));
    let (tried, mut child) = netns.run("shared", || {
        let socket = tcp_socket()?;
        socket.set_nonblocking(true)?;
        ensure!(socket.connect(&peer.into()).is_err(), "the peer should be silent");
        let local = socket.local_addr()?.as_socket().context("no address")?;
        let tried = Try { ended: Ended::GaveUp, local, tid: this_thread(), took: Duration::ZERO };
        Ok((tried, Actor::hold(&netns, socket.into(), Duration::from_millis(1500))?))
    })?;
    child.wait()?;
    let (retransmits, end) = trace.expect_end("connect.failed")?;
    ensure!((1..=2).contains(&retransmits.len()), "{retransmits:?}");
    failure(&end, "closed_by_app", None)?;
    end.within("/tcp/connect/duration_ms", 1490.0..=3900.0)?;
    tuple(&end, &tried, &peer.to_string())?;
    owned(&end, &tried, "shared", &netns)
}

/// A connect that no process asked for: MPTCP's path manager adds a second path from a worker of the kernel.
/// (The other clients in the kernel, NFS, SMB, 9p, nbd and iSCSI among them, are modules of few machines.)
fn subflow_that_the_kernel_opens_itself(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    netns.second_path()?;
    let mut trace = lab.trace(&json!({"filter": {"netns": netns.inode()}, "starts": true}))?;
    let _ends = netns.run("mptcp", || {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP))?;
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        listener.listen(1)?;
        let client = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP))?;
        client.connect(&listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        // The worker is called once data was acknowledged both ways.
        for (from, to) in [(&client, &server), (&server, &client)] {
            from.send(b"hello")?;
            (&mut &*to).read_exact(&mut [0; 5])?;
        }
        Ok((listener, client, server))
    })?;
    for kind in ["connect.start", "connect.established"] {
        trace.expect(kind)?.is("/process/comm", "mptcp")?;
    }
    // The server's end has the second path as well, being in the same namespace, and may try it first: towards the
    // client's port, where nobody listens.
    let (_, end) = trace.until("connect.established")?;
    let worker = end.text("/process/comm")?;
    ensure!(worker.starts_with("kworker/"), "{worker} is no worker of the kernel");
    ensure!(end.list("/stack/user").unwrap_or_default().is_empty(), "{}", end.at("/stack/user"));
    ensure!(!end.list("/stack/kernel")?.is_empty(), "no stack at all: {}", end.0);
    end.is("/network/local/address", SECOND_PATH.to_string())?.is("/process/user/id", 0)?;
    Ok(())
}
