//! The programs that run inside, built static, and the initramfs that carries them.

use std::env;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::arch::Arch;
use super::cpio::Archive;

/// Static programs of one architecture.
#[derive(Clone, Debug)]
pub struct Programs {
    server: PathBuf,
    guest: PathBuf,
}

/// Builds server and guest with cargo, which shows its own progress.
pub fn build(arch: &Arch, target_dir: &Path) -> Result<Programs> {
    eprintln!("building static programs for {}", arch.target);
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--target", arch.target])
        .args(["-p", "synscope", "-p", "vm-tests", "--bin", "synscope", "--bin", "synscope-guest"])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUSTFLAGS", format!("{flags} -C target-feature=+crt-static"))
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "the static build failed");
    let built = target_dir.join(arch.target).join("release");
    Ok(Programs { server: built.join("synscope"), guest: built.join("synscope-guest") })
}

/// Writes the initramfs: the guest is `/init`, the server `/bin/synscope`.
pub fn write_initramfs(programs: &Programs, path: &Path) -> Result<()> {
    let read = |program: &Path| fs::read(program).with_context(|| format!("reading {}", program.display()));
    let mut archive = Archive::new(BufWriter::new(File::create(path)?));
    for directory in ["bin", "dev", "proc", "sys", "tmp"] {
        archive.directory(directory)?;
    }
    // The kernel opens it for /init before devtmpfs is mounted.
    archive.device("dev/console", 5, 1)?;
    archive.program("init", &read(&programs.guest)?)?;
    archive.program("bin/synscope", &read(&programs.server)?)?;
    archive.finish()?;
    Ok(())
}
