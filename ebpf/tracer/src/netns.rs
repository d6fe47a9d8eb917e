//! Names of network namespaces, where somebody gave them one.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Where namespaces are bound to names: by `ip netns` and CNI, and by Docker.
const DIRECTORIES: [&str; 2] = ["/run/netns", "/run/docker/netns"];
/// Names remembered.
const MAX_NAMES: usize = 4096;
/// A number that is not known is looked for at most this often.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Number of the initial namespace where that is fixed (NET_NS_INIT_INO in include/uapi/linux/nsfs.h, 6.18). Older
/// kernels give out larger ones only.
const INITIAL: u32 = 0xefff_fff9;
/// Numbers are given out again at once: a name is believed for this long.
const BELIEVED_FOR: Duration = Duration::from_secs(5);

/// Knows network namespaces by number, the inode number that `ls -i` shows.
#[derive(Debug)]
pub struct Names {
    directories: Vec<PathBuf>,
    /// Device that all namespaces are on: other files in the directories are no namespaces.
    device: Option<u64>,
    initial: Option<u64>,
    bound: HashMap<u64, OsString>,
    looked: Option<Instant>,
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

impl Names {
    /// Looks at the host's own namespace only.
    pub fn new() -> Self {
        Self::in_directories(&DIRECTORIES.map(PathBuf::from))
    }

    fn in_directories(directories: &[PathBuf]) -> Self {
        Self {
            directories: directories.to_vec(),
            device: fs::metadata("/proc/self/ns/net").ok().map(|own| own.dev()),
            // The initial pid namespace's process 1 lives in the initial network namespace.
            initial: fs::metadata("/proc/1/ns/net").ok().map(|initial| initial.ino()),
            bound: HashMap::new(),
            looked: None,
        }
    }

    /// True for the namespace that the kernel started with, which is process 1's.
    pub fn is_initial(&self, number: u32) -> bool {
        number == INITIAL || self.initial == Some(u64::from(number))
    }

    /// The name that the namespace is bound to, as `ip netns` shows it.
    pub fn name(&mut self, number: u32) -> Option<String> {
        let number = u64::from(number);
        let believed_for = if self.bound.contains_key(&number) { BELIEVED_FOR } else { LOOK_AGAIN_AFTER };
        if self.looked.is_none_or(|looked| looked.elapsed() > believed_for) {
            self.look();
        }
        self.bound.get(&number).map(|name| name.to_string_lossy().into_owned())
    }

    fn look(&mut self) {
        self.looked = Some(Instant::now());
        self.bound.clear();
        for directory in &self.directories {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            for entry in entries.take(MAX_NAMES) {
                if let Some(number) = number(&entry.path(), self.device) {
                    self.bound.entry(number).or_insert_with(|| entry.file_name());
                }
            }
        }
    }
}

/// The number of the namespace that is bound to a path.
fn number(path: &Path, device: Option<u64>) -> Option<u64> {
    let bound = fs::metadata(path).ok()?;
    (Some(bound.dev()) == device).then(|| bound.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn own() -> u32 {
        u32::try_from(fs::metadata("/proc/self/ns/net").unwrap().ino()).unwrap()
    }

    fn look_again(names: &mut Names, after: Duration) {
        names.looked = Instant::now().checked_sub(after);
    }

    /// A link to a namespace has the namespace's inode, as the bind mount of `ip netns` has.
    #[test]
    fn a_bound_namespace_has_a_name_until_it_is_unbound() {
        let directory = tempfile::tempdir().unwrap();
        let mut names = Names::in_directories(&[directory.path().join("absent"), directory.path().into()]);
        assert_eq!(names.name(own()), None);
        fs::write(directory.path().join("no namespace"), "").unwrap();
        symlink("/proc/self/ns/net", directory.path().join("blue")).unwrap();
        assert_eq!(names.name(own()), None, "looked again at once");
        look_again(&mut names, LOOK_AGAIN_AFTER);
        assert_eq!(names.name(own()).as_deref(), Some("blue"));

        fs::remove_file(directory.path().join("blue")).unwrap();
        look_again(&mut names, LOOK_AGAIN_AFTER);
        assert_eq!(names.name(own()).as_deref(), Some("blue"), "looked again too soon");
        look_again(&mut names, BELIEVED_FOR);
        assert_eq!(names.name(own()), None);
    }

    #[test]
    fn a_file_is_no_namespace_whatever_its_inode() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let number = fs::metadata(&file).unwrap().ino();
        let mut names = Names::in_directories(&[directory.path().into()]);
        names.look();
        assert!(!names.bound.contains_key(&number));
    }

    #[test]
    fn the_initial_namespace_is_known() {
        let mut names = Names::new();
        if let Ok(initial) = fs::metadata("/proc/1/ns/net") {
            assert!(names.is_initial(u32::try_from(initial.ino()).unwrap()));
        }
        names.initial = Some(7);
        for (number, is_initial) in [(7, true), (4_026_531_833, true), (4_026_531_840, false), (0, false)] {
            assert_eq!(names.is_initial(number), is_initial, "{number}");
        }
    }
}
