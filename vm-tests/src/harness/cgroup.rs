//! Cgroups: of any name, and one whose policy forbids connect().

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::programs::{CgroupAttachMode, CgroupSockAddr};
use aya::{Ebpf, EbpfLoader};
use bpf_lab::{asm, elf};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

/// Returning 0 from a `connect4` program is EPERM for the caller.
const FORBID: i32 = 0;

/// A cgroup v2 below the root, in a mount of its own.
pub struct Cgroup {
    path: PathBuf,
    mounted: Mounted,
}

/// One that lets no process connect to an IPv4 address.
pub struct DenyingCgroup {
    /// Gone when this is dropped, and its program with it.
    _policy: Ebpf,
    cgroup: Cgroup,
}

struct Mounted(TempDir);

impl Cgroup {
    /// A new one, which may hold processes and no other cgroups.
    pub fn new(name: &OsStr) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let none = MountFlags::empty();
        mount("cgroup2", directory.path(), "cgroup2", none, None).context("mounting cgroup2")?;
        let mounted = Mounted(directory);
        let path = mounted.0.path().join(name);
        fs::create_dir(&path).context("a cgroup")?;
        Ok(Self { path, mounted })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its path below the root of cgroups, as traces show it.
    pub fn name(&self) -> String {
        let below = self.path.strip_prefix(self.mounted.0.path()).unwrap_or(&self.path);
        format!("/{}", below.to_string_lossy())
    }
}

impl DenyingCgroup {
    /// A new one.
    pub fn new() -> Result<Self> {
        let cgroup = Cgroup::new(format!("synscope-denied-{}", std::process::id()).as_ref())?;
        Ok(Self { _policy: forbid(&cgroup.path)?, cgroup })
    }

    /// What it is apart from its policy.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }
}

fn forbid(cgroup: &Path) -> Result<Ebpf> {
    let object = elf::write("cgroup/connect4", &[asm::mov(0, FORBID), asm::exit()], &[], &[]);
    let mut ebpf = EbpfLoader::new().btf(None).load(&object)?;
    let program: &mut CgroupSockAddr = ebpf.program_mut("program").context("no program")?.try_into()?;
    program.load().context("loading the policy")?;
    program.attach(File::open(cgroup)?, CgroupAttachMode::Single).context("attaching the policy")?;
    Ok(ebpf)
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It is empty: whoever was in it has been waited for.
        let _ = fs::remove_dir(&self.path);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}
