//! The programs that run inside, built static.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::apt::AptRoot;
use super::arch::Arch;

/// Debian's compiler for architectures that this machine's own toolchain does not know, and the package with the
/// standard library that belongs to it.
const DEBIAN_RUSTC: (&str, &str) = ("/usr/bin/rustc", "rustc-web");
const DEBIAN_STD: &str = "libstd-rust-web-dev";

/// What is cross-built runs emulated, where most of the time goes to the kernel: it is built in half the time.
const QUICKLY_BUILT: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
];

/// Static programs of one architecture.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `synscope`.
    pub server: PathBuf,
    /// `synscope-guest`.
    pub guest: PathBuf,
}

/// Builds server and guest with cargo, which shows its own progress and builds only what has changed.
pub fn build(arch: &'static Arch, target_dir: &Path) -> Result<Programs> {
    eprintln!("building static programs for {}", arch.target);
    let mut flags =
        vec![env::var("RUSTFLAGS").unwrap_or_default(), "-C target-feature=+crt-static".to_owned()];
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    if !arch.is_native() {
        let (linker, package) = arch.linker;
        ensure!(in_path(linker), "no {linker}: install {package}, or run `just setup`");
        flags.push(format!("-C linker={linker}"));
        cargo.env(format!("CC_{}", arch.target.replace('-', "_")), linker);
        cargo.envs(QUICKLY_BUILT);
        // The allocator cannot ask the machine that builds: kernels for arm64 have pages of up to 64 KiB.
        cargo.env("JEMALLOC_SYS_WITH_LG_PAGE", "16");
        if !knows(arch.target) {
            flags.push(format!("--sysroot {}", sysroot(arch, target_dir)?.display()));
            cargo.env("RUSTC", DEBIAN_RUSTC.0);
        }
    }
    let status = cargo
        .args(["build", "--release", "--locked", "--target", arch.target])
        .args(["-p", "synscope", "-p", "vm-tests", "--bin", "synscope", "--bin", "synscope-guest"])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUSTFLAGS", flags.join(" "))
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "the static build failed");
    let built = target_dir.join(arch.target).join("release");
    Ok(Programs { server: built.join("synscope"), guest: built.join("synscope-guest") })
}

fn in_path(program: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join(program).exists())
}

/// Whether this machine's own toolchain can build for the target: `rustup target add` makes it so.
fn knows(target: &str) -> bool {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    let directory = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    directory
        .is_some_and(|directory| fs::read_dir(directory.trim()).is_ok_and(|mut files| files.next().is_some()))
}

/// Debian's standard library of the other architecture, unpacked below the target directory: it can be used without
/// installing anything of that architecture.
fn sysroot(arch: &Arch, target_dir: &Path) -> Result<PathBuf> {
    let (rustc, package) = DEBIAN_RUSTC;
    let output = Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output();
    let version =
        output.ok().filter(|output| output.status.success()).and_then(|it| String::from_utf8(it.stdout).ok());
    let version = version.with_context(|| {
        format!("no toolchain for {0}: `rustup target add {0}`, or install {package} ({rustc})", arch.target)
    })?;
    let kept = target_dir.join("vm").join("rust").join(arch.debian);
    let directory = kept.join(&version);
    let sysroot = directory.join("usr");
    if sysroot.exists() {
        return Ok(sysroot);
    }
    let apt = AptRoot::update(&target_dir.join("vm").join("apt").join(arch.debian), arch.debian)?;
    eprintln!("fetching {DEBIAN_STD} {version} for {}", arch.debian);
    let partial = kept.join(format!("{version}.partial"));
    let file = apt.download(DEBIAN_STD, &version, &partial)?;
    let unpacked =
        Command::new("dpkg-deb").arg("-x").arg(&file).arg(&partial).status().context("starting dpkg-deb")?;
    ensure!(unpacked.success(), "dpkg-deb cannot unpack {}", file.display());
    fs::remove_file(&file)?;
    fs::rename(&partial, &directory)?;
    Ok(sysroot)
}
