//! A view of the file system in which nothing but the data directory can be written to.

use std::{ffi::CString, io, os::unix::ffi::OsStrExt as _, path::Path};

use rustix::{
    fs::{StatVfsMountFlags, statvfs},
    mount::{MountPropagationFlags, mount_bind, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

/// Makes everything else read-only for this thread and those that it will start, in a mount namespace of their own.
/// A directory that is read-only already stays so. Needs `CAP_SYS_ADMIN` and Linux 5.12, where `mount_setattr` first
/// took a whole tree at once: one mount after the other would ask file servers that may no longer answer.
pub(super) fn write_only_to(directory: Option<&Path>) -> io::Result<()> {
    if are_read_only() {
        return Ok(());
    }
    let writable = directory.filter(|directory| directory.is_dir() && !is_read_only(directory));
    // SAFETY: a thread with mounts of its own breaks code that expects paths to mean the same on all threads; this one
    // starts all others, which inherit them.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    // What the host mounts later is still seen; what changes here is not seen by the host.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    if let Some(directory) = writable {
        mount_bind(directory, directory)?;
    }
    set_attributes(Path::new("/"), libc::AT_RECURSIVE, libc::MOUNT_ATTR_RDONLY, 0)?;
    writable.map_or(Ok(()), |directory| set_attributes(directory, 0, 0, libc::MOUNT_ATTR_RDONLY))
}

/// By [`write_only_to`], or by whoever started the process, as systemd's `ProtectSystem=strict` does.
pub(super) fn are_read_only() -> bool {
    is_read_only(Path::new("/"))
}

fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|status| status.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn set_attributes(path: &Path, flags: libc::c_int, set: u64, clear: u64) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = libc::mount_attr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 };
    let (at, size) = (libc::AT_FDCWD, size_of::<libc::mount_attr>());
    // SAFETY: the path ends with a zero byte, the attributes are as long as is said, and both outlive the call.
    let done = unsafe {
        libc::syscall(libc::SYS_mount_setattr, at, path.as_ptr(), flags, &raw const attributes, size)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
