//! Giving up, before the first thread is started, all that tracing does not need. What is given up is gone for every
//! thread of the process, and nothing that it could start would have it.

mod capabilities;
mod files;
mod syscalls;

use std::{fs, path::Path};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::set_no_new_privs,
};

/// Gives up what is not needed. What could not be given up is told, one line each, and is no reason to stop: it is a
/// second line of defence. Only in this directory files can be written then.
pub(crate) fn reduce(data_dir: Option<&Path>) -> Vec<String> {
    raise_limits();
    let mut kept = Vec::new();
    let mut note = |what: &str, problem: Option<String>| {
        kept.extend(problem.map(|problem| format!("{what}: {problem}")));
    };
    note("writing to files", files::write_only_to(data_dir).err().map(|error| error.to_string()));
    note("capabilities", capabilities::keep_only_needed().err().map(|error| error.to_string()));
    note("no_new_privs", set_no_new_privs(true).err().map(|error| error.to_string()));
    note("seccomp", syscalls::forbid().err().map(|error| error.to_string()));
    kept
}

/// Raising a limit needs a capability that is given up: descriptors for connections and traces, and memory for maps,
/// which kernels before 5.11 count as locked.
fn raise_limits() {
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}

/// What is in force for this thread, by the kernel's own word.
#[expect(clippy::struct_excessive_bools, reason = "each is in force or not, whatever the others are")]
pub(crate) struct Privileges {
    /// Capabilities in use, by name; several have all of them.
    pub(crate) capabilities: Vec<&'static str>,
    /// Whether the bounding set holds no more than [`Privileges::capabilities`] may.
    pub(crate) is_bounded: bool,
    /// Whether no program that is started gets more than this one has.
    pub(crate) no_new: bool,
    /// Whether system calls are filtered.
    pub(crate) filtered: bool,
    /// Whether files are read-only, those of the data directory apart.
    pub(crate) read_only: bool,
}

impl Privileges {
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or("").trim()
        };
        let set = |name: &str| u64::from_str_radix(field(name), 16).unwrap_or(u64::MAX);
        Self {
            capabilities: capabilities::names(set("CapEff")),
            is_bounded: capabilities::is_needed_only(set("CapBnd")),
            no_new: field("NoNewPrivs") == "1",
            filtered: field("Seccomp") == "2",
            read_only: files::are_read_only(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, process::Command, thread};

    use super::*;

    /// Everything here is of a thread, so the test's own thread is the one that loses it.
    fn reduced<T: Send + 'static>(then: impl FnOnce() -> T + Send + 'static) -> T {
        reduced_to(None, then)
    }

    fn reduced_to<T: Send>(data_dir: Option<&Path>, then: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    reduce(data_dir);
                    then()
                })
                .join()
                .unwrap()
        })
    }

    #[test]
    fn no_child_is_ever_started_but_threads_are() {
        assert!(Command::new("/bin/true").status().is_ok());
        let error = reduced(|| Command::new("/bin/true").status().unwrap_err());
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        assert_eq!(reduced(|| thread::spawn(|| 7).join().unwrap()), 7);
    }

    #[test]
    fn what_is_left_is_what_the_kernel_says() {
        let now = reduced(Privileges::now);
        assert!(now.no_new && now.filtered);
        for name in ["CAP_CHOWN", "CAP_SETUID", "CAP_SYS_MODULE", "CAP_NET_RAW"] {
            assert!(!now.capabilities.contains(&name), "{name}");
        }
    }

    #[test]
    fn files_are_written_in_the_data_directory_only() {
        let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |directory: &tempfile::TempDir| fs::write(directory.path().join("file"), "").err();
        let (kept, refused, said) =
            reduced_to(Some(data.path()), || (write(&data), write(&other), Privileges::now().read_only));
        assert!(kept.is_none(), "{kept:?}");
        // Without CAP_SYS_ADMIN, or before Linux 5.12, it stays as it was, and that is what is said. Where it must not
        // stay so, a scenario insists.
        let expected = said.then_some(ErrorKind::ReadOnlyFilesystem);
        assert_eq!(refused.map(|error| error.kind()), expected);
        assert!(write(&other).is_none(), "other threads are not concerned");
    }
}
