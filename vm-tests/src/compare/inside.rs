//! The comparison inside a virtual machine: this very program is its `/init`, and the tools stand beside it with their
//! libraries.

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
use serde::{Deserialize, Serialize};

use super::tools::{TOOLS, Tool};
use super::{Place, Watched, watch};
use crate::guest;
use crate::harness::{kernel, netns};
use crate::vm::arch::Choice;
use crate::vm::cpio::Archive;
use crate::vm::lock::Lock;
use crate::vm::package::Store;
use crate::vm::programs::Programs;
use crate::vm::protocol::RESULTS;
use crate::vm::qemu::{Accelerator, Boot, Qemu};
use crate::vm::{kernels, matrix};

/// Emulation on a busy host.
const LIMIT: Duration = Duration::from_hours(1);
const PATIENCE: f64 = 3.0;

/// Of what a tool printed, in bytes: as JSON it is less than a line of results may have.
const KEPT: usize = 24 << 10;

/// What the guest says, one JSON object a line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    Kernel(String),
    Watched(Watched),
    End,
}

/// Boots the kernel, and returns what was watched there and the kernel's release.
pub(super) fn boot(place: Place<'_>, series: &str) -> Result<(Vec<Watched>, String)> {
    let arch = Choice::native().arch();
    let work = place.target_dir.join("vm");
    let logs = work.join("logs");
    fs::create_dir_all(&logs)?;
    let wanted = kernels::select(&[series.to_owned()])?;
    let image = Store::new(&work, arch).image(&wanted[0], &Lock::load(&Lock::path())?, &mut Vec::new())?;
    let initramfs = logs.join("comparison.initramfs");
    let programs = Programs { server: place.synscope.to_owned(), guest: env::current_exe()? };
    matrix::prepare(&programs, &image, &initramfs)?;
    add_tools(&initramfs, &programs)?;
    let console = logs.join("comparison.console");
    let boot = Boot {
        arch,
        kernel: &image.path,
        initramfs: &initramfs,
        console: &console,
        words: "ignore_loglevel",
    };
    let heard = listen(&boot);
    fs::remove_file(&initramfs)?;
    heard.with_context(|| format!("the kernel's console is in {}", console.display()))
}

fn listen(boot: &Boot<'_>) -> Result<(Vec<Watched>, String)> {
    let mut qemu = Qemu::start(boot, Accelerator::Tcg)?;
    let lines = qemu.lines()?;
    let begun = Instant::now();
    let (mut all, mut kernel, mut ended) = (Vec::new(), String::new(), false);
    while !ended {
        let left = LIMIT.saturating_sub(begun.elapsed());
        let Ok(line) = lines.recv_timeout(left) else { break };
        match serde_json::from_str(&line).with_context(|| format!("the guest said {line:?}"))? {
            Said::Kernel(release) => kernel = release,
            Said::Watched(watched) => {
                eprintln!("{}", watched.tool);
                all.push(watched);
            }
            Said::End => ended = true,
        }
    }
    qemu.stop();
    ensure!(ended, "the guest did not come to its end");
    Ok((all, kernel))
}

/// The kernel takes several archives in one file.
fn add_tools(initramfs: &Path, programs: &Programs) -> Result<()> {
    let mut files: BTreeSet<_> = TOOLS.iter().flat_map(Tool::files).filter(|path| path.exists()).collect();
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

/// Plays the part of `/init` or `/sbin/modprobe`, when this program was started as one of them.
pub fn take_over() -> bool {
    let name = env::args_os().next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == "modprobe") {
        guest::main();
        return true;
    }
    if std::process::id() != 1 {
        return false;
    }
    if let Err(error) = inside() {
        eprintln!("comparison: {error:#}");
    }
    let error = reboot(RebootCommand::PowerOff);
    eprintln!("comparison: powering off: {error:?}");
    true
}

fn inside() -> Result<()> {
    guest::mount_file_systems()?;
    // Where the tools look for probes.
    guest::mount_on("/sys/kernel/debug", "debugfs")?;
    netns::raise_loopback()?;
    let words = fs::read_to_string("/proc/cmdline")?;
    let port = words.split_whitespace().find_map(|word| word.strip_prefix(RESULTS));
    let mut results =
        File::options().write(true).open(port.context("the host names no port for results")?)?;
    let mut say = |said: &Said| -> Result<()> {
        results.write_all((serde_json::to_string(said)? + "\n").as_bytes())?;
        Ok(rustix::termios::tcdrain(&results)?)
    };
    say(&Said::Kernel(kernel::release()))?;
    for tool in TOOLS {
        let mut watched = watch(tool, Path::new("/bin/synscope"), PATIENCE);
        // A line that is too long for the port is no line.
        watched.output.truncate(watched.output.floor_char_boundary(KEPT));
        say(&Said::Watched(watched))?;
    }
    say(&Said::End)
}
