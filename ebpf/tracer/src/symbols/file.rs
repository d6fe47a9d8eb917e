//! Finding the file of a mapping: through the process while it lives, by its path afterwards. What is opened
//! is proven to be the file that was mapped: paths are under the control of whoever is traced.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::{
            ffi::OsStrExt as _,
            fs::{MetadataExt as _, OpenOptionsExt as _},
        },
    },
    path::{Path, PathBuf},
};

use nix::{fcntl::OFlag, sys::stat::makedev};

use crate::process::{Mapping, Process, root_of};

/// A file that does not change without getting another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// A mapping's file, open for reading.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: FileId,
    pub(super) file: File,
    pub(super) size: u64,
    /// Part of this host's system, which nobody but root changes: it may be mapped. To read a mapped file that
    /// another truncates is to be killed by SIGBUS.
    pub(super) trusted: bool,
}

/// Finds the file of a mapping. `None` when it is nowhere to be found any more.
pub(super) fn find(process: &Process, mapping: &Mapping) -> Option<Found> {
    let (start, end) = (mapping.start, mapping.end);
    let by_mapping = PathBuf::from(format!("/proc/{}/map_files/{start:x}-{end:x}", process.pid));
    // The link leads to the very file, even when it has been removed.
    let found = open(&by_mapping, |file| file.ino() == mapping.inode);
    let has_our_root = process.root().is_some() && process.root() == root_of(std::process::id());
    found
        .or_else(|| by_path(process, mapping))
        .map(|(file, metadata)| Found::new(file, &metadata, has_our_root))
}

/// Opens the file that has this path below our own root.
pub(super) fn at(path: &Path) -> Option<Found> {
    let (file, metadata) = open(path, |_| true)?;
    Some(Found::new(file, &metadata, true))
}

impl Found {
    fn new(file: File, metadata: &Metadata, has_our_root: bool) -> Self {
        let id = FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        Self { id, file, size: metadata.size(), trusted: has_our_root && is_of_this_host(metadata) }
    }

    /// True when it is what the kernel's numbers of a file stand for.
    pub(super) fn is(&self, (major, minor): (u32, u32), inode: u64) -> bool {
        (self.id.device, self.id.inode) == (makedev(major.into(), minor.into()), inode)
    }
}

/// Looks for the path in the root of the process, of ancestors that share this root, and in ours.
fn by_path(process: &Process, mapping: &Mapping) -> Option<(File, Metadata)> {
    let below_root =
        Path::new(std::ffi::OsStr::from_bytes(mapping.name.as_os_str().as_bytes().strip_prefix(b"/")?));
    let ancestors = process.ancestry.iter().map(|ancestor| ancestor.pid);
    let relatives = std::iter::once(process.pid).chain(ancestors).chain([std::process::id()]);
    relatives.into_iter().find_map(|pid| {
        let same_root = process.root().is_some() && root_of(pid) == process.root();
        // File systems made of others (overlayfs, btrfs) show another device in maps than in stat. The same
        // path and inode number below the same root is proof enough.
        let path = Path::new("/proc").join(pid.to_string()).join("root").join(below_root);
        open(&path, |file| file.ino() == mapping.inode && (same_root || file.dev() == device(mapping)))
    })
}

fn device(mapping: &Mapping) -> u64 {
    let (major, minor) = mapping.device;
    makedev(major.into(), minor.into())
}

/// Opens a regular file for reading, if it is the one. It is looked at before it is opened: opening a FIFO
/// waits, and opening a device acts.
fn open(path: &Path, is_meant: impl Fn(&Metadata) -> bool) -> Option<(File, Metadata)> {
    let looked_at = OpenOptions::new().read(true).custom_flags(OFlag::O_PATH.bits()).open(path).ok()?;
    let metadata = looked_at.metadata().ok().filter(|file| file.is_file() && is_meant(file))?;
    Some((reopen(&looked_at).ok()?, metadata))
}

fn reopen(file: &File) -> io::Result<File> {
    File::open(path_of(file))
}

/// A path that leads to the open file, whatever became of its name.
pub(super) fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// True for what root put onto the file system of this host's /usr.
fn is_of_this_host(file: &Metadata) -> bool {
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    file.uid() == 0
        && file.mode() & WRITABLE_BY_OTHERS == 0
        && fs::metadata("/usr").is_ok_and(|system| system.dev() == file.dev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let own = std::env::current_exe().unwrap();
        assert!(open(&own, |_| true).is_some());
        assert!(open(&own, |_| false).is_none());
        for other in ["/dev/null", "/dev/zero", "/", "/proc/self/fd", "/nowhere"] {
            assert!(open(Path::new(other), |_| true).is_none(), "{other}");
        }
    }
}
