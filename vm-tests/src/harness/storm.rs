//! Connects as fast as one thread can make them, or at a steady rate.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::Netns;
use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};

const CLOSED_PORT: u16 = 81;
/// Of the network whose packets nobody answers.
const SILENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// What a storm is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Connects to a loopback port where nobody listens.
    Refused,
    /// Connects to a listener, accepted and closed at both ends.
    Healthy,
    /// Connects to a peer that never answers, given up at once.
    Abandoned,
    /// listen() and close(): two state changes that belong to no connect.
    Listening,
    /// A system call that has nothing to do with sockets, and little to do at all.
    Unrelated,
}

/// How long a storm lasts.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// About so long.
    For(Duration),
    /// So many operations: a multiple of sixteen.
    Times(u64),
}

/// Storms in a namespace, in a thread of that name; returns operations and the time that they took.
pub fn storm(netns: &Netns, comm: &str, load: Load, length: Length) -> Result<(u64, Duration)> {
    netns.run(comm, || {
        let mut storm = Storm::new(load)?;
        let begun = Instant::now();
        loop {
            // The clock is asked now and then only.
            storm.go_on(16)?;
            let done = match length {
                Length::For(time) => begun.elapsed() >= time,
                Length::Times(times) => storm.count >= times,
            };
            if done {
                return Ok((storm.count, begun.elapsed()));
            }
        }
    })
}

/// Seconds that an operation of a storm takes, slice by slice: each is the mean of a few of them.
pub fn paces(netns: &Netns, load: Load, time: Duration) -> Result<Vec<f64>> {
    const SLICE: u32 = 64;
    netns.run("storm", || {
        let mut storm = Storm::new(load)?;
        let mut paces = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < time || paces.is_empty() {
            let slice = Instant::now();
            storm.go_on(SLICE)?;
            paces.push(slice.elapsed().as_secs_f64() / f64::from(SLICE));
        }
        Ok(paces)
    })
}

/// A load that is repeated as fast as it goes.
struct Storm {
    load: Load,
    listener: TcpListener,
    port: u16,
    count: u64,
}

impl Storm {
    fn new(load: Load) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let port = listener.local_addr()?.port();
        Ok(Self { load, listener, port, count: 0 })
    }

    /// So many times more.
    fn go_on(&mut self, times: u32) -> Result<()> {
        for _ in 0..times {
            one(self.load, &self.listener, self.port, self.count)?;
            self.count += 1;
        }
        Ok(())
    }
}

/// As many storms at once as there are to be threads, each of that length.
pub fn storms(netns: &Netns, load: Load, length: Length, threads: u64) -> Result<()> {
    thread::scope(|scope| {
        let storms: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| storm(netns, "storm", load, length))).collect();
        for storm in storms {
            storm.join().ok().context("a storm panicked")??;
        }
        Ok(())
    })
}

fn one(load: Load, listener: &TcpListener, port: u16, count: u64) -> Result<()> {
    match load {
        Load::Refused => {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            let refused = socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, CLOSED_PORT)).into());
            ensure!(refused.is_err(), "somebody listens on port {CLOSED_PORT}");
        }
        Load::Healthy => {
            // Every loopback address has ports of its own: what waits to be closed must not use them up.
            let host = u8::try_from(count % 200)? + 1;
            let stream = TcpStream::connect((Ipv4Addr::new(127, 0, 0, host), port)).context("connecting")?;
            drop(listener.accept()?);
            drop(stream);
        }
        Load::Abandoned => drop(unanswered()?),
        Load::Listening => {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.listen(1)?;
        }
        Load::Unrelated => drop(rustix::process::getppid()),
    }
    Ok(())
}

/// A connect under way to a peer that never answers.
fn unanswered() -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let under_way = socket.connect(&SocketAddr::from((SILENT, 443)).into());
    ensure!(under_way.is_err(), "{SILENT} answered");
    Ok(socket)
}

/// Refused connects at a given rate, in bursts of a millisecond.
pub fn paced(netns: &Netns, per_second: u32, time: Duration) -> Result<u64> {
    const TICK: Duration = Duration::from_millis(1);
    netns.run("paced", || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let begun = Instant::now();
        let mut count = 0;
        while begun.elapsed() < time {
            let due = u64::try_from(begun.elapsed().as_micros())? * u64::from(per_second) / 1_000_000;
            while count < due {
                one(Load::Refused, &listener, 0, count)?;
                count += 1;
            }
            thread::sleep(TICK);
        }
        Ok(count)
    })
}
