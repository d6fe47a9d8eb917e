//! A network namespace per scenario, with peers that never answer.
//!
//! An address on `lo` and a route to a documentation network over `lo` make a peer that stays silent:
//! the SYN comes back in as a packet for somebody else, and the kernel drops it without an answer. It
//! needs no module and no second interface, so it works in the smallest virtual machine. (For IPv6 see
//! [`listen_deaf`](super::listen_deaf).)

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// `lo` is the first interface of every namespace.
const LOOPBACK: u32 = 1;
const ROUTE_LIMIT: Duration = Duration::from_secs(30);
const SOURCE_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const SILENT_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 0);
/// An address to connect to that is not `::1`.
pub const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, 1);

/// A namespace that lives as long as this value and what runs in it.
pub struct Netns {
    handle: File,
    inode: u64,
}

impl Netns {
    /// A new namespace: `lo` is up, 203.0.113.0/24 never answers.
    pub fn new() -> Result<Self> {
        let handle = on_own_thread("netns", || {
            // SAFETY: CLONE_NEWNET concerns this thread's view of the network only, and shares or
            // unshares no file descriptors or memory that other code relies on.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
                .context("unshare(CLONE_NEWNET)")?;
            let handle = File::open("/proc/thread-self/ns/net").context("opening the namespace")?;
            ask(configure).context("configuring lo")?;
            Ok(handle)
        })?;
        let inode = handle.metadata()?.ino();
        Ok(Self { handle, inode })
    }

    /// The number by which traces know this namespace.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Runs `work` inside the namespace, on a thread of its own that is named `comm`.
    pub fn run<T: Send>(&self, comm: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_own_thread(comm, || {
            move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))
                .context("entering the namespace")?;
            work()
        })
    }

    /// Sets `net.NAME` (with slashes: `ipv4/tcp_syn_retries`) for this namespace alone.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        // /proc/sys/net shows the namespace of the thread that opens it.
        self.run("sysctl", || {
            let path = format!("/proc/sys/net/{name}");
            fs::write(&path, value).with_context(|| format!("writing {value} to {path}"))
        })
    }
}

fn on_own_thread<T: Send>(comm: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(comm.to_owned()).spawn_scoped(scope, work)?;
        thread.join().map_err(|panic| {
            let text = panic.downcast_ref::<String>().map_or("no message", String::as_str);
            anyhow!("thread {comm} panicked: {text}")
        })?
    })
}

/// Raises `lo` in the namespace that this thread is in.
pub fn raise_loopback() -> Result<()> {
    ask(async |handle| raise(&handle).await)
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Asks the kernel to change interfaces, addresses or routes of the namespace that this thread is in.
pub(super) fn ask<T, F>(question: impl FnOnce(Handle) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        question(handle).await
    })
}

async fn raise(handle: &Handle) -> Result<()> {
    Ok(handle.link().set(LinkUnspec::new_with_index(LOOPBACK).up().build()).execute().await?)
}

async fn configure(handle: Handle) -> Result<()> {
    raise(&handle).await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(SILENT_V4, 24);
    add_address(&handle, SOURCE_V4.into(), 32).await?;
    handle.route().add(route.output_interface(LOOPBACK).build()).execute().await?;
    if fs::exists("/proc/net/if_inet6")? {
        add_address(&handle, OWN_V6.into(), 128).await?;
        until_routed().await?;
    }
    Ok(())
}

/// The kernel adds the route of an IPv6 address when a worker gets to it (addrconf_dad_work; 6.18), which can take
/// seconds while other namespaces are torn down. Until then a connect sends no SYN.
async fn until_routed() -> Result<()> {
    let deadline = Instant::now() + ROUTE_LIMIT;
    while let Err(error) = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?.connect((OWN_V6, 9)) {
        ensure!(Instant::now() < deadline, "no route to {OWN_V6} within {ROUTE_LIMIT:?}: {error}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

async fn add_address(handle: &Handle, address: IpAddr, prefix: u8) -> Result<()> {
    let mut request = handle.address().add(LOOPBACK, address, prefix);
    // Even on lo an IPv6 address may not be bound to until a worker has finished detecting duplicates.
    request.message_mut().header.flags = AddressHeaderFlags::Nodad;
    Ok(request.execute().await?)
}
