//! Cgroup v2 ids and paths. An id is the inode number of the cgroup's directory (64-bit kernels since 5.5).

use std::{
    collections::HashMap,
    ffi::OsString,
    fs, io,
    os::unix::{
        ffi::OsStringExt as _,
        fs::{DirEntryExt as _, MetadataExt as _},
    },
    path::{Component, Path, PathBuf},
    time::{Duration, Instant},
};

/// Knows the paths of cgroups by id.
#[derive(Debug)]
pub struct Cgroups {
    root: Option<PathBuf>,
    paths: HashMap<u64, String>,
    walked: Option<Instant>,
}

/// An unknown id is looked for by walking the hierarchy, at most this often.
const WALK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Cgroups remembered. Beyond, the walk stops and further ids are shown as numbers. Those that are gone are
/// remembered as well, for events that come late, until half of this is reached.
const MAX_CGROUPS: usize = 65_536;

impl Default for Cgroups {
    fn default() -> Self {
        Self::new()
    }
}

impl Cgroups {
    /// Finds where cgroup v2 is mounted.
    pub fn new() -> Self {
        Self::below(mount_point())
    }

    fn below(root: Option<PathBuf>) -> Self {
        Self { root, paths: HashMap::new(), walked: None }
    }

    /// Path below the cgroup root, as `/system.slice/nginx.service`; `None` when there is no such cgroup any more.
    pub fn path(&mut self, id: u64) -> Option<&str> {
        let stale = self.walked.is_none_or(|walked| walked.elapsed() > WALK_AGAIN_AFTER);
        if !self.paths.contains_key(&id) && stale {
            self.walk();
        }
        self.paths.get(&id).map(String::as_str)
    }

    fn walk(&mut self) {
        self.walked = Some(Instant::now());
        if self.paths.len() >= MAX_CGROUPS / 2 {
            self.paths.clear();
        }
        let Some(root) = self.root.clone() else { return };
        if let Ok(metadata) = fs::metadata(&root) {
            self.paths.insert(metadata.ino(), "/".into());
        }
        let mut pending = vec![root.clone()];
        while let Some(directory) = pending.pop() {
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                if self.paths.len() >= MAX_CGROUPS {
                    return;
                }
                let path = entry.path();
                let below = path.strip_prefix(&root).unwrap_or(&path);
                self.paths.insert(entry.ino(), format!("/{}", below.to_string_lossy()));
                pending.push(path);
            }
        }
    }
}

/// Id of the cgroup at a path below the cgroup root.
pub fn id_of(path: &str) -> io::Result<u64> {
    let root =
        mount_point().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "cgroup v2 is not mounted"))?;
    let below = Path::new(path.trim_start_matches('/'));
    if below.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a cgroup path has no `..` in it"));
    }
    Ok(fs::metadata(root.join(below))?.ino())
}

/// Where cgroup v2 is mounted: /sys/fs/cgroup, or beside version 1 somewhere below. `None` when it is not.
pub fn mount_point() -> Option<PathBuf> {
    mount_point_in(&fs::read("/proc/self/mountinfo").ok()?)
}

/// Other mounts may have any name, of bytes that are no text too.
fn mount_point_in(mounts: &[u8]) -> Option<PathBuf> {
    mounts.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b' ');
        let path = fields.nth(4)?;
        // Optional fields come before the hyphen, the type of the file system behind it.
        fields.find(|field| field == b"-")?;
        (fields.next()? == b"cgroup2").then(|| OsString::from_vec(unescape(path)).into())
    })
}

/// Blanks, newlines and backslashes are shown as `\040` and the like.
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| first == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        let byte = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &tail[3..] } else { tail };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(path: &Path) -> u64 {
        fs::metadata(path).unwrap().ino()
    }

    /// Any directory has an inode number and directories in it, like the hierarchy of cgroups.
    #[test]
    fn cgroups_are_found_and_remembered_when_they_are_gone() {
        let root = tempfile::tempdir().unwrap();
        let service = root.path().join("system.slice/a b.service");
        fs::create_dir_all(&service).unwrap();
        fs::write(root.path().join("cgroup.procs"), "").unwrap();
        let (service_id, file_id) = (inode(&service), inode(&root.path().join("cgroup.procs")));
        let mut cgroups = Cgroups::below(Some(root.path().into()));
        assert_eq!(cgroups.path(service_id), Some("/system.slice/a b.service"));
        assert_eq!(cgroups.path(inode(root.path())), Some("/"));
        assert_eq!(cgroups.path(file_id), None);

        fs::remove_dir(&service).unwrap();
        cgroups.walked = None;
        assert_eq!(cgroups.path(u64::MAX), None);
        assert_eq!(cgroups.path(service_id), Some("/system.slice/a b.service"));
    }

    #[test]
    fn the_dead_do_not_take_the_place_of_the_living() {
        let root = tempfile::tempdir().unwrap();
        let mut cgroups = Cgroups::below(Some(root.path().into()));
        // Inode numbers of files do not come near the upper end.
        let gone = (0..).map(|id| u64::MAX - id).take(MAX_CGROUPS);
        cgroups.paths = gone.map(|id| (id, "/gone".to_owned())).collect();
        assert_eq!(cgroups.path(inode(root.path())), Some("/"));
        fs::create_dir(root.path().join("new")).unwrap();
        cgroups.walked = None;
        assert_eq!(cgroups.path(inode(&root.path().join("new"))), Some("/new"));
        assert_eq!(cgroups.paths.len(), 2);
    }

    #[test]
    fn mounts_with_names_that_are_no_text_do_not_hide_the_cgroups() {
        let found = |line: &[u8]| {
            let other = b"21 1 0:19 / /mnt/\xff\xfe rw shared:3 - ext4 /dev/\xff rw\n".as_slice();
            mount_point_in(&[other, line, b"\n"].concat())
        };
        let plain = found(b"30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 cgroup rw");
        assert_eq!(plain, Some("/sys/fs/cgroup".into()));
        let blank = found(br"30 24 0:26 / /a\040b\134c\0 rw - cgroup2 none rw");
        assert_eq!(blank, Some(r"/a b\c\0".into()));
        for none in ["30 24 0:26 / /sys/fs/cgroup rw - cgroup none rw", "30 24 0:26 / /x rw cgroup2", "-", ""]
        {
            assert_eq!(found(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn ids_of_paths_that_lead_elsewhere_are_refused() {
        if mount_point().is_some() {
            assert!(id_of("/").is_ok());
            assert_eq!(id_of("/../../etc").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
