//! This very program as the `/init` of a machine: it boots a kernel into itself, with other programs of this host
//! beside it, and what it finds there it tells itself outside.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::system::{RebootCommand, reboot};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::arch::Choice;
use super::cpio::Archive;
use super::lock::Lock;
use super::package::Store;
use super::programs::Programs;
use super::protocol::RESULTS;
use super::qemu::{Accelerator, Boot, Qemu};
use super::{kernels, matrix};
use crate::guest;
use crate::harness::{kernel, netns};

/// Emulation on a busy host.
const LIMIT: Duration = Duration::from_hours(1);

/// What a program has to do on another kernel.
#[derive(Clone, Copy, Debug)]
pub struct Errand<'a> {
    /// Its files below the target directory are named by it.
    pub name: &'a str,
    /// The kernel's series, of kernels.toml.
    pub series: &'a str,
    /// The binary under test; in the machine it is [`SYNSCOPE`].
    pub synscope: &'a Path,
    /// Below it, kernels are kept.
    pub target_dir: &'a Path,
    /// Programs and scripts of this host that are wanted there, and stand in the same places. Those that are not here
    /// are not there either.
    pub tools: &'a [PathBuf],
    /// How many processors the machine has; by default one.
    pub processors: Option<usize>,
    /// More words for the kernel's command line.
    pub words: &'a str,
}

/// Where the binary under test is in the machine.
pub const SYNSCOPE: &str = "/bin/synscope";

/// What the inner self says, one JSON object a line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Said<T> {
    Kernel(String),
    Found(T),
    End,
}

impl Errand<'_> {
    /// Boots, hands over what is found there as it comes, and returns the kernel's release.
    pub fn run<T: DeserializeOwned>(&self, mut found: impl FnMut(T)) -> Result<String> {
        let arch = Choice::native().arch();
        let work = self.target_dir.join("vm");
        let logs = work.join("logs");
        fs::create_dir_all(&logs)?;
        let wanted = kernels::select(&[self.series.to_owned()])?;
        let image =
            Store::new(&work, arch).image(&wanted[0], &Lock::load(&Lock::path())?, &mut Vec::new())?;
        let initramfs = logs.join(self.name).with_extension("initramfs");
        let programs = Programs { server: self.synscope.to_owned(), guest: env::current_exe()? };
        matrix::prepare(&programs, &image, &initramfs)?;
        add_tools(&initramfs, self.tools, &programs)?;
        let console = logs.join(self.name).with_extension("console");
        let boot = Boot {
            arch,
            kernel: &image.path,
            initramfs: &initramfs,
            console: &console,
            processors: self.processors,
            words: &format!("ignore_loglevel {}", self.words),
        };
        let heard = listen(&boot, &mut found);
        fs::remove_file(&initramfs)?;
        heard.with_context(|| format!("the kernel's console is in {}", console.display()))
    }
}

fn listen<T: DeserializeOwned>(boot: &Boot<'_>, found: &mut impl FnMut(T)) -> Result<String> {
    let mut qemu = Qemu::start(boot, Accelerator::Tcg)?;
    let lines = qemu.lines()?;
    let begun = Instant::now();
    let (mut kernel, mut ended) = (String::new(), false);
    while !ended {
        let left = LIMIT.saturating_sub(begun.elapsed());
        let Ok(line) = lines.recv_timeout(left) else { break };
        match serde_json::from_str(&line).with_context(|| format!("the guest said {line:?}"))? {
            Said::Kernel(release) => kernel = release,
            Said::Found(it) => found(it),
            Said::End => ended = true,
        }
    }
    qemu.stop();
    ensure!(ended, "the guest did not come to its end");
    Ok(kernel)
}

/// The kernel takes several archives in one file.
fn add_tools(initramfs: &Path, tools: &[PathBuf], programs: &Programs) -> Result<()> {
    let mut files: BTreeSet<_> = tools.iter().filter(|path| path.exists()).cloned().collect();
    // bpftrace asks it for a compiler, and takes it ill when there is no shell.
    files.insert("/bin/sh".into());
    for program in files.clone().iter().chain([&programs.server, &programs.guest]) {
        files.extend(libraries(program)?);
    }
    add_headers(Path::new("/usr/include"), |name| HEADERS.contains(&name), &mut files)?;
    let file = OpenOptions::new().append(true).open(initramfs)?;
    let mut archive = Archive::new(BufWriter::new(file));
    let mut directories = BTreeSet::new();
    for path in &files {
        let parents = path.ancestors().skip(1).filter(|parent| parent.parent().is_some());
        directories.extend(parents.map(Path::to_owned));
    }
    for directory in directories {
        archive.directory(name(&directory)?)?;
    }
    for path in &files {
        archive.program(name(path)?, &fs::read(path)?)?;
    }
    archive.finish()?;
    Ok(())
}

/// bpftrace's tools include some of the C library's.
const HEADERS: [&str; 3] = ["x86_64-linux-gnu", "linux", "asm-generic"];

fn add_headers(directory: &Path, is_wanted: fn(&str) -> bool, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("{}", directory.display()))? {
        let path = entry?.path();
        if !path.is_dir() {
            files.insert(path);
        } else if path.file_name().and_then(OsStr::to_str).is_some_and(is_wanted) {
            add_headers(&path, |_| true, files)?;
        }
    }
    Ok(())
}

/// A path as the archive has it.
fn name(path: &Path) -> Result<&str> {
    let path = path.to_str().context("a path that is not UTF-8")?;
    Ok(path.trim_start_matches('/'))
}

/// What the dynamic linker would load, and the linker itself; nothing for a script.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("starting ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// The way to the self outside.
#[derive(Debug)]
pub struct Teller(File);

impl Teller {
    /// Tells what was found.
    pub fn tell(&mut self, found: &impl Serialize) -> Result<()> {
        self.say(&Said::Found(found))
    }

    fn say(&mut self, said: &Said<impl Serialize>) -> Result<()> {
        self.0.write_all((serde_json::to_string(said)? + "\n").as_bytes())?;
        Ok(rustix::termios::tcdrain(&self.0)?)
    }
}

/// Plays the part of `/init` or `/sbin/modprobe`, when this program was started as one of them; as `/init`, it does what
/// it was sent for, which is told the words of the kernel's command line.
pub fn take_over(errand: impl FnOnce(&str, &mut Teller) -> Result<()>) -> bool {
    let name = env::args_os().next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == "modprobe") {
        guest::main();
        return true;
    }
    if std::process::id() != 1 {
        return false;
    }
    if let Err(error) = inside(errand) {
        eprintln!("init: {error:#}");
    }
    let error = reboot(RebootCommand::PowerOff);
    eprintln!("init: powering off: {error:?}");
    true
}

fn inside(errand: impl FnOnce(&str, &mut Teller) -> Result<()>) -> Result<()> {
    guest::mount_file_systems()?;
    // Where the tools look for probes.
    guest::mount_on("/sys/kernel/debug", "debugfs")?;
    netns::raise_loopback()?;
    let words = fs::read_to_string("/proc/cmdline")?;
    let port = words.split_whitespace().find_map(|word| word.strip_prefix(RESULTS));
    let port = port.context("the host names no port for results")?;
    let mut teller = Teller(File::options().write(true).open(port)?);
    teller.say(&Said::<()>::Kernel(kernel::release()))?;
    errand(&words, &mut teller)?;
    teller.say(&Said::<()>::End)
}
