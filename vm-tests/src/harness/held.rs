//! A socket whose owner stays inside the kernel and holds its lock.
//!
//! Packets that arrive meanwhile find `sock_owned_by_user()`, and some of them are then treated otherwise.
//! In the field that is a matter of microseconds. Here a system call that takes the lock reads an argument
//! from a page that nobody provides until this value is dropped.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use memmap2::MmapMut;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::mm::{UserfaultfdFlags, userfaultfd};
use socket2::{SockFilter, Socket};

const PAGE: usize = 4096;
const API: u64 = 0xaa;
const MISSING_PAGES: u64 = 1;
/// `struct uffd_msg`.
const MESSAGE: usize = 32;

/// `struct uffdio_api`.
#[repr(C)]
#[derive(Default)]
struct Handshake {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
#[derive(Default)]
struct Register {
    start: u64,
    length: u64,
    mode: u64,
    ioctls: u64,
}

const HANDSHAKE: Opcode = opcode::read_write::<Handshake>(0xaa, 0x3f);
const REGISTER: Opcode = opcode::read_write::<Register>(0xaa, 0x00);

/// Holds a socket's lock until it is dropped.
pub struct Held {
    faults: Option<OwnedFd>,
    holder: Option<JoinHandle<()>>,
}

impl Held {
    /// Returns once the lock is held.
    pub fn lock(socket: &Arc<Socket>) -> Result<Self> {
        let page = MmapMut::map_anon(PAGE)?;
        let faults = watch(&page).context("userfaultfd")?;
        let socket = Arc::clone(socket);
        let holder = std::thread::spawn(move || {
            // SO_ATTACH_FILTER copies the filter with the lock held (sk_setsockopt, 6.18, net/core/sock.c). A
            // page of zeros is no filter, so that nothing changes in the end.
            let refused = socket.attach_filter(as_filter(&page));
            debug_assert!(refused.is_err(), "zeros were taken for a filter");
        });
        let held = Self { faults: Some(faults), holder: Some(holder) };
        // The fault is told when the kernel waits for the page.
        let mut message = [0; MESSAGE];
        let faults = held.faults.as_ref().context("just made")?;
        rustix::io::read(faults, &mut message).context("waiting for the page fault")?;
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Once nobody watches the page, the kernel fills it itself.
        drop(self.faults.take());
        if let Some(holder) = self.holder.take() {
            let _ = holder.join();
        }
    }
}

/// Whether the kernel lets a process watch the page faults of system calls.
pub fn can_hold() -> rustix::io::Result<()> {
    let page = MmapMut::map_anon(PAGE).map_err(|error| errno(&error))?;
    watch(&page).map(drop)
}

fn errno(error: &io::Error) -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(error).unwrap_or(rustix::io::Errno::IO)
}

fn watch(page: &MmapMut) -> rustix::io::Result<OwnedFd> {
    // SAFETY: the flags are for close-on-exec alone.
    let faults = unsafe { userfaultfd(UserfaultfdFlags::CLOEXEC) }?;
    let mut handshake = Handshake { api: API, ..Handshake::default() };
    // SAFETY: the opcode belongs to this structure.
    unsafe { ioctl(&faults, Updater::<HANDSHAKE, _>::new(&mut handshake)) }?;
    let (start, length) = (page.as_ptr() as u64, page.len() as u64);
    let mut register = Register { start, length, mode: MISSING_PAGES, ioctls: 0 };
    // SAFETY: the opcode belongs to this structure; the page is a whole mapping of its own.
    unsafe { ioctl(&faults, Updater::<REGISTER, _>::new(&mut register)) }?;
    Ok(faults)
}

fn as_filter(page: &MmapMut) -> &[SockFilter] {
    // SAFETY: eight bytes of anything are an instruction of classic BPF, and a page is aligned for it.
    unsafe { std::slice::from_raw_parts(page.as_ptr().cast(), 1) }
}
