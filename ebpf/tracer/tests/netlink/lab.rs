//! A network namespace of a test's own, and connections in it.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use socket2::{Domain, Socket, Type};
use synscope_tracer::netlink::{FourTuple, Netns};

/// An address of the namespace that is not a loopback one.
pub(crate) const OWN_V4: &str = "10.99.0.1";
/// A network that never answers: packets to it come back in over `lo`, and are dropped.
pub(crate) const SILENT_V4: &str = "203.0.113.1";

/// A network namespace that lives as long as this value and the sockets in it. One process sleeps in it.
pub(crate) struct Lab {
    file: File,
    inhabitant: Child,
    number: u32,
}

impl Lab {
    /// `lo` is up.
    pub(crate) fn new() -> Result<Self> {
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare(CLONE_NEWNET)")?;
            let file = File::open("/proc/thread-self/ns/net")?;
            let number = u32::try_from(file.metadata()?.ino())?;
            command("ip link set lo up")?;
            command(&format!("ip addr add {OWN_V4}/32 dev lo"))?;
            command("ip route add 203.0.113.0/24 dev lo")?;
            let inhabitant = Command::new("sleep").arg("infinity").spawn().context("sleep")?;
            Ok(Self { file, inhabitant, number })
        })
    }

    /// The namespace, known by number alone.
    pub(crate) fn numbered(&self) -> Netns {
        Netns::numbered(self.number)
    }

    /// The namespace, with the process that is in it.
    pub(crate) fn netns(&self) -> Netns {
        Netns { seen: [None, Some(self.inhabitant.id())], ..self.numbered() }
    }

    /// Does `work` inside.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_own_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET).context("setns")?;
            work()
        })
    }

    /// Runs a program inside, its arguments separated by blanks.
    pub(crate) fn run(&self, line: &str) -> Result<()> {
        self.inside(|| command(line))
    }

    /// Connections to this port of any IPv4 address of the namespace go to 127.0.0.1:15001.
    pub(crate) fn redirect(&self, port: u16) -> Result<()> {
        self.run("nft add table ip mesh")?;
        self.run("nft add chain ip mesh output { type nat hook output priority -100 ; }")?;
        self.run(&format!("nft add rule ip mesh output tcp dport {port} redirect to :15001"))
    }

    /// A listener inside.
    pub(crate) fn listen(&self, address: &str) -> Result<TcpListener> {
        self.inside(|| TcpListener::bind(address).with_context(|| format!("listening on {address}")))
    }

    /// A listener inside with this backlog.
    pub(crate) fn listen_with_backlog(&self, address: &str, backlog: i32) -> Result<TcpListener> {
        self.inside(|| {
            let address: SocketAddr = address.parse()?;
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.bind(&address.into())?;
            socket.listen(backlog)?;
            Ok(socket.into())
        })
    }

    /// A connection from inside.
    pub(crate) fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        self.inside(|| TcpStream::connect(to).with_context(|| format!("connecting to {to}")))
    }

    /// A connection from this address inside.
    pub(crate) fn connect_from(&self, from: SocketAddr, to: SocketAddr) -> Result<TcpStream> {
        self.inside(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.bind(&from.into())?;
            socket.connect(&to.into()).with_context(|| format!("connecting from {from} to {to}"))?;
            Ok(socket.into())
        })
    }

    /// A connect from inside that is under way.
    pub(crate) fn start_connect(&self, to: SocketAddr) -> Result<TcpStream> {
        self.inside(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            match socket.connect(&to.into()) {
                Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => Ok(socket.into()),
                other => bail!("connect() in SYN_SENT returned {other:?}"),
            }
        })
    }

    /// A connection from inside to a listener there, and its accepted end.
    pub(crate) fn pair(&self, listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
        let client = self.connect(listener.local_addr()?)?;
        Ok((client, listener.accept()?.0))
    }

    /// The same, with the client's end at this address.
    pub(crate) fn pair_from(
        &self,
        from: SocketAddr,
        listener: &TcpListener,
    ) -> Result<(TcpStream, TcpStream)> {
        let client = self.connect_from(from, listener.local_addr()?)?;
        Ok((client, listener.accept()?.0))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A process that is gone already leaves nothing to do.
        let _ = self.inhabitant.kill();
        let _ = self.inhabitant.wait();
    }
}

/// The tuple that a client's attempt has.
pub(crate) fn tuple(client: &TcpStream, destination: SocketAddr) -> Result<FourTuple> {
    Ok(FourTuple { source: client.local_addr()?, destination })
}

/// The inode number of an open socket.
pub(crate) fn inode(socket: &impl AsFd) -> Result<u32> {
    let copy: OwnedFd = socket.as_fd().try_clone_to_owned()?;
    Ok(u32::try_from(File::from(copy).metadata()?.ino())?)
}

/// Asks until the answer is as wanted: what happens in the network takes its time, even on loopback, and a
/// program that another test starts holds this one's sockets from its fork to its exec.
pub(crate) fn until<T: std::fmt::Debug>(
    mut ask: impl FnMut() -> Result<T>,
    is_it: impl Fn(&T) -> bool,
) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let answer = ask()?;
        if is_it(&answer) {
            return Ok(answer);
        }
        ensure!(Instant::now() < deadline, "after 5 s it still is {answer:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Threads that enter a namespace end there, so that no other test finds itself in it.
fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(work).join().map_err(|_| anyhow!("a thread of the lab panicked"))?)
}

fn command(line: &str) -> Result<()> {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap_or_default())
        .args(words)
        .output()
        .with_context(|| line.to_owned())?;
    let error = io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned());
    if output.status.success() { Ok(()) } else { Err(error).with_context(|| line.to_owned()) }
}
