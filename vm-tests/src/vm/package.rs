//! From a kernel's series to an image that QEMU boots: resolve, download, unpack, each kept for next time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::apt::{AptRoot, Package};
use super::arch::Arch;
use super::kernels::{self, Kernel};
use super::lock::{Lock, Locked};

/// Where kernels are kept between runs.
pub struct Store<'a> {
    directory: PathBuf,
    arch: &'a Arch,
    apt: Option<AptRoot>,
}

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct Image {
    /// The series, or the file's name.
    pub series: String,
    /// The package's version, empty for a file.
    pub version: String,
    /// The image.
    pub path: PathBuf,
}

impl<'a> Store<'a> {
    /// A store below `directory`.
    pub fn new(directory: &Path, arch: &'a Arch) -> Self {
        Self { directory: directory.to_owned(), arch, apt: None }
    }

    /// The locked package of the series, fetched when it is not here yet.
    ///
    /// A package that is not locked, or that the mirror no longer has, is replaced by the newest, with
    /// a notice: an old lock should not keep anybody from testing.
    pub fn image(&mut self, kernel: &Kernel, lock: &Lock, notices: &mut Vec<String>) -> Result<Image> {
        let series = &kernel.series;
        let locked = lock.find(series, self.arch.debian);
        if let Some(image) = locked.map(|locked| self.unpacked(locked)).filter(|image| image.path.exists()) {
            return Ok(image);
        }
        let offered = self.offered(kernel)?;
        let is_locked = |it: &&Package| {
            locked.is_some_and(|locked| it.name == locked.package && it.version == locked.version)
        };
        let chosen = if let Some(package) = offered.iter().find(is_locked) {
            self.locked(kernel, package)
        } else {
            let newest = self.newest(kernel)?;
            let state =
                if locked.is_some() { "names a version that the mirror lost" } else { "has no entry" };
            notices.push(format!(
                "kernels.lock {state} for {series}: took {}; `vm-tests update` renews it",
                newest.version
            ));
            newest
        };
        if let Some(locked) = locked.filter(|locked| locked.version == chosen.version) {
            ensure!(locked.sha256 == chosen.sha256, "{series}: the mirror's checksum is not the locked one");
        }
        self.fetch(&chosen)
    }

    /// The newest package of the series.
    pub fn newest(&mut self, kernel: &Kernel) -> Result<Locked> {
        let offered = self.offered(kernel)?;
        let newest = offered.iter().max_by_key(|package| {
            // Since 6.19 the image is in linux-binary, and linux-image of the same version is empty.
            (numbers(&package.version), package.name.starts_with("linux-binary-"))
        });
        let newest = newest.with_context(|| {
            format!("no cloud kernel {} for {} in {}", kernel.series, self.arch.debian, kernel.suite)
        })?;
        Ok(self.locked(kernel, newest))
    }

    fn locked(&self, kernel: &Kernel, package: &Package) -> Locked {
        Locked {
            series: kernel.series.clone(),
            arch: self.arch.debian.to_owned(),
            package: package.name.clone(),
            version: package.version.clone(),
            sha256: package.sha256.clone(),
        }
    }

    fn offered(&mut self, kernel: &Kernel) -> Result<Vec<Package>> {
        if self.apt.is_none() {
            let root = self.directory.join("apt").join(self.arch.debian);
            self.apt = Some(AptRoot::update(&root, self.arch.debian, &kernels::suites()?)?);
        }
        let apt = self.apt.as_ref().context("no apt root")?;
        let (image, series) = (format!("-cloud-{}", self.arch.debian), format!("{}.", kernel.series));
        let mut offered = Vec::new();
        for kind in ["linux-image-", "linux-binary-"] {
            let packages = apt.packages(&kernel.suite, &format!("{kind}{series}"))?;
            offered.extend(
                packages
                    .into_iter()
                    .filter(|package| package.name.ends_with(&image) && package.version.starts_with(&series)),
            );
        }
        Ok(offered)
    }

    fn unpacked(&self, locked: &Locked) -> Image {
        let directory = self.directory.join("kernels").join(&locked.arch).join(&locked.sha256);
        Image {
            series: locked.series.clone(),
            version: locked.version.clone(),
            path: directory.join("vmlinuz"),
        }
    }

    fn fetch(&self, chosen: &Locked) -> Result<Image> {
        let image = self.unpacked(chosen);
        if image.path.exists() {
            return Ok(image);
        }
        let directory = image.path.parent().context("an image stands in a directory")?;
        eprintln!("{}: fetching {} {}", chosen.series, chosen.package, chosen.version);
        let apt = self.apt.as_ref().context("no apt root")?;
        apt.download(&chosen.package, &chosen.version, directory)?;
        let package = find_package(directory)?;
        let sum = checksum(&package)?;
        ensure!(sum == chosen.sha256, "{} has checksum {sum}, not {}", package.display(), chosen.sha256);
        extract(&package, &image.path)?;
        Ok(image)
    }
}

/// The runs of digits, for comparing versions of one series in one suite.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|run| run.parse().ok()).collect()
}

fn find_package(directory: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            return Ok(path);
        }
    }
    bail!("apt-get downloaded nothing into {}", directory.display())
}

fn checksum(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(format!("{:x}", hasher.finalize()))
}

/// Takes the kernel image out of a package: `boot/vmlinuz-*`, or since 7.2 `usr/lib/modules/*/vmlinuz`.
fn extract(package: &Path, image: &Path) -> Result<()> {
    let mut unpack = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting dpkg-deb")?;
    let mut archive = tar::Archive::new(unpack.stdout.take().context("no pipe")?);
    let mut found = false;
    // All of it is read, so that dpkg-deb comes to its end and can say that the package is whole.
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if entry.header().entry_type().is_file() && (name == "vmlinuz" || name.starts_with("vmlinuz-")) {
            let partial = image.with_extension("partial");
            io::copy(&mut entry, &mut File::create(&partial)?)?;
            fs::rename(&partial, image)?;
            found = true;
        }
    }
    ensure!(unpack.wait()?.success(), "dpkg-deb cannot read {}", package.display());
    ensure!(found, "no kernel image in {}", package.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_their_numbers() {
        let newer = |a: &str, b: &str| numbers(a) > numbers(b);
        assert!(newer("6.1.192-2", "6.1.192-1"));
        assert!(newer("6.1.100-1", "6.1.99-1"));
        assert!(newer("6.19.14-1~bpo13+1", "6.19.6-2~bpo13+1"));
    }
}
