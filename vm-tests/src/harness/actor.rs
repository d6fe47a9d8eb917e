//! Child processes: this very program, started again to play one small part.
//!
//! A scenario that needs a process of its own (another pid, user or name, or one that can be killed)
//! cannot rely on `nc` being there. Programs that run scenarios call [`take_part`] first thing in `main`.

use std::env;
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytecode_suite::in_kernel;
use bytecode_suite::live::Bench;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{Signal, getpid, kill_process};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Cgroup, Connect, Netns, kernel};

const FLAG: &str = "--synscope-actor";

/// A child that is killed when dropped.
pub struct Actor(Child);

impl Actor {
    /// A process named `comm`, in the namespace, that connects to `peer` and gives up after `patience`.
    pub fn connect(netns: &Netns, comm: &str, peer: &str, patience: Duration) -> Result<Self> {
        let patience = patience.as_millis().to_string();
        Self::spawn(netns, &["connect", comm, peer, &patience], None)
    }

    /// A process that connects to `peer` as [`Connect::run`] does, and is gone the moment that this returns. Returns
    /// the process's id.
    pub fn flee(netns: &Netns, comm: &str, peer: &str) -> Result<u32> {
        let mut fugitive = Self::spawn(netns, &["flee", comm, peer], None)?;
        let status = fugitive.0.wait()?;
        ensure!(status.signal() == Some(Signal::KILL.as_raw()), "an actor failed: {status}");
        Ok(fugitive.pid())
    }

    /// As [`Actor::connect`], for another user.
    pub fn connect_as(uid: u32, netns: &Netns, peer: &str, patience: Duration) -> Result<Self> {
        let patience = patience.as_millis().to_string();
        Self::spawn(netns, &["connect", "actor", peer, &patience], Some(uid))
    }

    /// As [`Actor::connect`], from within a cgroup, by the name `from-cgroup`.
    pub fn connect_from(cgroup: &Cgroup, netns: &Netns, peer: &str, patience: Duration) -> Result<Self> {
        let patience = patience.as_millis().to_string();
        let members = OpenOptions::new().write(true).open(cgroup.path().join("cgroup.procs"))?;
        // Its path need not be text, so it cannot be an argument.
        Self::spawn_with(netns, &["connect-from", peer, &patience], |command| {
            command.stdin(members);
        })
    }

    /// A process with so many connects under way, until it is dropped.
    pub fn crowd(netns: &Netns, peer: &str, count: u64) -> Result<Self> {
        Self::spawn(netns, &["crowd", "crowd", peer, &count.to_string()], None)
    }

    /// A process that holds `socket` open as well, until it is dropped or `patience` is over.
    pub fn hold(netns: &Netns, socket: OwnedFd, patience: Duration) -> Result<Self> {
        let patience = patience.as_millis().to_string();
        Self::spawn_with(netns, &["hold", "holder", &patience], |command| {
            command.stdin(socket);
        })
    }

    /// A process that keeps one core busy until it is dropped.
    pub fn spin(netns: &Netns) -> Result<Self> {
        Self::spawn(netns, &["spin", "spinner"], None)
    }

    fn spawn(netns: &Netns, part: &[&str], uid: Option<u32>) -> Result<Self> {
        Self::spawn_with(netns, part, |command| {
            if let Some(uid) = uid {
                command.uid(uid);
            }
        })
    }

    fn spawn_with(netns: &Netns, part: &[&str], change: impl FnOnce(&mut Command) + Send) -> Result<Self> {
        // A child starts in the namespace of the thread that forks it.
        netns.run("spawn", || {
            let mut command = self::part(part)?;
            command.stdin(Stdio::null());
            change(&mut command);
            Ok(Self(command.spawn().context("starting an actor")?))
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self) -> Result<()> {
        let status = self.0.wait()?;
        if !status.success() {
            bail!("an actor failed: {status}")
        }
        Ok(())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command that starts this program to play a part.
pub fn part(part: &[&str]) -> Result<Command> {
    // Not by way of /proc/self: it may become another program, which reads its own name there.
    let mut command = Command::new(env::current_exe()?);
    command.arg(FLAG).args(part);
    Ok(command)
}

/// Plays the part and ends the process, when this program was started as an actor.
pub fn take_part() {
    let arguments: Vec<String> = env::args().collect();
    let Some(part) = arguments.get(1..).filter(|part| part.first().is_some_and(|flag| flag == FLAG)) else {
        return;
    };
    let code = match play(&part[1..]) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("actor {part:?}: {error:#}");
            1
        }
    };
    std::process::exit(code);
}

fn play(part: &[String]) -> Result<()> {
    let part: Vec<&str> = part.iter().map(String::as_str).collect();
    match part[..] {
        ["connect", comm, peer, patience] => {
            fs::write("/proc/self/comm", comm).context("naming the process")?;
            let patience = Duration::from_millis(patience.parse()?);
            Connect::to_address(peer)?.giving_up_after(patience).run().map(drop)
        }
        ["connect-from", peer, patience] => {
            fs::write("/proc/self/comm", "from-cgroup").context("naming the process")?;
            rustix::io::write(std::io::stdin(), b"0").context("joining the cgroup")?;
            let patience = Duration::from_millis(patience.parse()?);
            Connect::to_address(peer)?.giving_up_after(patience).run().map(drop)
        }
        ["crowd", comm, peer, count] => {
            fs::write("/proc/self/comm", comm).context("naming the process")?;
            let _waiting = crowd(peer.parse()?, count.parse()?)?;
            thread::sleep(Duration::from_mins(1));
            Ok(())
        }
        ["hold", comm, patience] => {
            fs::write("/proc/self/comm", comm).context("naming the process")?;
            thread::sleep(Duration::from_millis(patience.parse()?));
            Ok(())
        }
        ["flee", comm, peer] => {
            fs::write("/proc/self/comm", comm).context("naming the process")?;
            let connect = Connect::to_address(peer)?;
            connect.run()?;
            // Faster than any exit.
            Ok(kill_process(getpid(), Signal::KILL)?)
        }
        ["spin", comm] => {
            fs::write("/proc/self/comm", comm).context("naming the process")?;
            spin(Duration::from_mins(1));
            Ok(())
        }
        ["bytecode", what] => bytecode(what),
        ["seeing", file, at, program, ref arguments @ ..] => {
            replace(file, at)?;
            Err(Command::new(program).args(arguments).exec()).context("becoming another program")
        }
        _ => bail!("no such part"),
    }
}

/// Starts connects to a silent peer.
fn crowd(peer: SocketAddr, count: u64) -> Result<Vec<Socket>> {
    kernel::raise_descriptor_limit()?;
    (0..count)
        .map(|_| {
            let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            match socket.connect(&peer.into()) {
                Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => Ok(socket),
                other => bail!("{peer} should be silent: {other:?}"),
            }
        })
        .collect()
}

fn bytecode(what: &str) -> Result<()> {
    let said = Bench::new().and_then(|mut bench| match what {
        "cases" => in_kernel::every_case(&mut bench).map(|summary| println!("{summary}")),
        "offsets" => in_kernel::wrong_offsets(&mut bench),
        _ => Err("no such part".into()),
    });
    said.map_err(|wrong| anyhow!("{wrong}"))
}

/// Shows another file in place of one of the kernel's, or an empty directory around it, to this process and what becomes
/// of it.
fn replace(file: &str, at: &str) -> Result<()> {
    // SAFETY: CLONE_NEWNS concerns this process's view of mounts, and it has a single thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.context("unshare(CLONE_NEWNS)")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    match file {
        "" => {
            Ok(mount("none", Path::new(at).parent().context("a file")?, "tmpfs", MountFlags::RDONLY, None)?)
        }
        file => Ok(mount_bind(file, at)?),
    }
}

/// Burns a core, for a bounded time in case that nobody ends this process.
fn spin(limit: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        (0..10_000).for_each(|_| std::hint::spin_loop());
    }
}
