//! Attempts that this side ended: by a deadline, a close, a signal.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::io::Errno;
use rustix::net::{SocketFlags, SocketType, connect, connect_unspec, ipproto, socket_with};
use socket2::{Domain, Protocol, Socket, Type};

use super::expect::{failure, only, only_with_stacks, only_with_starts};
use crate::harness::{Actor, Lab, Netns};

super::scenarios!["gave_up":
    killed_while_it_waits,
    closed_with_linger_zero,
    disconnected_by_a_connect_to_nowhere,
    blocking_connect_with_a_send_timeout,
    user_timeout_of_the_socket,
];

const SILENT: &str = "203.0.113.7:22";

fn killed_while_it_waits(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_starts(&netns))?;
    let actor = Actor::connect(&netns, "to-be-killed", SILENT, Duration::from_secs(30))?;
    let pid = actor.pid();
    trace.expect("connect.start")?.is("/process/pid", pid)?;
    // Its end is SIGKILL.
    drop(actor);
    let (_, end) = trace.expect_end("connect.failed")?;
    failure(&end, "killed", None)?;
    end.is("/process/pid", pid)?.is("/process/comm", "to-be-killed")?;
    Ok(())
}

fn tcp_socket() -> Result<Socket> {
    Ok(Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?)
}

fn silent() -> Result<socket2::SockAddr> {
    Ok(SILENT.parse::<std::net::SocketAddr>()?.into())
}

/// The state changes first; the error report with ECONNRESET comes after it and must not be taken for the cause.
fn closed_with_linger_zero(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only_with_stacks(&netns))?;
    netns.run("linger", || {
        let socket = tcp_socket()?;
        socket.set_nonblocking(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        ensure!(socket.connect(&silent()?).is_err(), "the peer should be silent");
        Ok(())
    })?;
    failure(&trace.expect("connect.failed")?, "closed_by_app", None)
}

fn disconnected_by_a_connect_to_nowhere(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    netns.run("unspec", || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let family = rustix::net::AddressFamily::INET;
        let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        let answer = connect(&socket, &SILENT.parse::<std::net::SocketAddr>()?);
        ensure!(answer == Err(Errno::INPROGRESS), "the peer should be silent: {answer:?}");
        Ok(connect_unspec(&socket)?)
    })?;
    failure(&trace.expect("connect.failed")?, "closed_by_app", None)
}

/// connect() returns EINPROGRESS at the timeout, and the attempt goes on until the socket is closed.
fn blocking_connect_with_a_send_timeout(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    netns.run("send-timeout", || {
        let socket = tcp_socket()?;
        socket.set_write_timeout(Some(Duration::from_millis(1300)))?;
        let error = socket.connect(&silent()?).unwrap_err();
        ensure!(error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()), "{error}");
        Ok(())
    })?;
    let (retransmits, end) = trace.expect_end("connect.failed")?;
    ensure!((1..=2).contains(&retransmits.len()), "retransmits: {retransmits:?}");
    failure(&end, "closed_by_app", None)?;
    end.within("/tcp/connect/duration_ms", 1290.0..=3900.0)?;
    Ok(())
}

/// The kernel looks at the user timeout when the retransmit timer fires, one second after the SYN.
fn user_timeout_of_the_socket(lab: &Lab) -> Result<()> {
    let netns = Netns::new()?;
    let mut trace = lab.trace(&only(&netns))?;
    netns.run("user-timeout", || {
        let socket = tcp_socket()?;
        socket.set_tcp_user_timeout(Some(Duration::from_millis(700)))?;
        let error = socket.connect(&silent()?).unwrap_err();
        ensure!(error.raw_os_error() == Some(Errno::TIMEDOUT.raw_os_error()), "{error}");
        Ok(())
    })?;
    let (_, end) = trace.expect_end("connect.failed")?;
    failure(&end, "timeout", Some(("ETIMEDOUT", 110)))?;
    end.within("/tcp/connect/duration_ms", 690.0..=3600.0)?;
    Ok(())
}
