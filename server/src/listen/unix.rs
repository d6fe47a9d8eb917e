//! The Unix socket: who may open its file may connect, and says by the kernel's word who it is.

use std::{
    fs::{self, Permissions},
    io,
    os::fd::AsRawFd,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use super::Peer;
use crate::Failure;
use rustix::{
    fs::Mode,
    process::{geteuid, umask},
};

/// A process has no more (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;
/// The owner and the group of the file may connect.
const MODE: u32 = 0o660;

/// Makes the socket's file. One that a server left behind is replaced; one that is in use is not, nor is a file
/// that is no socket. Called while the process has one thread: the mask belongs to all of them.
pub(super) fn bind(path: &Path) -> Result<UnixListener, Failure> {
    remove_left_behind(path)?;
    // The file must never be open to others, not even before its mode is set.
    let mask = umask(Mode::from_raw_mode(0o777 & !MODE));
    let bound = UnixListener::bind(path);
    umask(mask);
    let listener = bound
        .and_then(|listener| fs::set_permissions(path, Permissions::from_mode(MODE)).map(|()| listener))
        .map_err(|error| refused(path, &error.to_string(), "choose a path in a directory of this user's"))?;
    Ok(listener)
}

fn remove_left_behind(path: &Path) -> Result<(), Failure> {
    let Ok(file) = fs::symlink_metadata(path) else { return Ok(()) };
    if !file.file_type().is_socket() {
        return Err(refused(
            path,
            "a file that is no socket stands there",
            "remove it, or choose another path",
        ));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| refused(path, &error.to_string(), "remove the socket that was left there")),
        _ => Err(refused(path, "another process listens there", "stop it, or choose another path")),
    }
}

fn refused(path: &Path, problem: &str, remedy: &str) -> Failure {
    Failure::new(format!("cannot listen on unix:{}: {problem}", path.display()), remedy)
}

/// The peer, where it is the server's own user, root, or of the file's group. The file's mode says the same; this
/// holds when somebody has widened it.
pub(super) fn admit(path: &Path, stream: &tokio::net::UnixStream) -> io::Result<Peer> {
    let peer = stream.peer_cred()?;
    let (uid, gid) = (peer.uid(), peer.gid());
    let group = fs::metadata(path)?.gid();
    if uid == 0 || uid == geteuid().as_raw() || gid == group || groups_of(stream)?.contains(&group) {
        return Ok(Peer::Unix { uid, pid: peer.pid().and_then(|pid| u32::try_from(pid).ok()) });
    }
    let words =
        format!("uid {uid} is neither the server's own user, nor root, nor of the socket's group {group}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, words))
}

/// The supplementary groups that the peer had when it connected (`SO_PEERGROUPS`, from Linux 4.13 on).
fn groups_of(stream: &impl AsRawFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; MAX_GROUPS];
    let mut bytes = libc::socklen_t::try_from(size_of_val(groups.as_slice())).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `bytes` bytes to `groups`, which has so many and takes any; it sets `bytes` to
    // what it has written.
    let failed = unsafe {
        let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERGROUPS);
        libc::getsockopt(stream.as_raw_fd(), level, name, groups.as_mut_ptr().cast(), &raw mut bytes)
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(usize::try_from(bytes).map_err(io::Error::other)? / size_of::<u32>());
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_left_behind_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, MODE);
        assert!(bind(&path).is_err(), "in use");
        drop(listener);
        bind(&path).unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "kept").unwrap();
        assert!(bind(&file).is_err(), "no socket");
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    }
}
