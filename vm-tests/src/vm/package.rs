//! From a kernel's series to an image and modules that QEMU boots: resolve, download, unpack, each kept for next time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::apt::{AptRoot, Package};
use super::arch::Arch;
use super::kernels::Kernel;
use super::lock::{Lock, Locked, LockedPackage};

/// What Debian's kernel packages are called: image and modules are in the first until 6.18, the image is in the second
/// since 6.19, the modules are in the third since 7.2.
const KINDS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// Directories of a kernel's modules that a scenario may need something of.
const MODULES: [&str; 4] = ["/kernel/net/", "/kernel/drivers/net/", "/kernel/lib/", "/kernel/crypto/"];

/// Where kernels are kept between runs.
pub struct Store<'a> {
    directory: PathBuf,
    arch: &'a Arch,
    apt: Option<AptRoot>,
    /// Every kernel package of the suites that were looked at.
    indexes: BTreeMap<String, Vec<Package>>,
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
    /// The directory of its modules, if there are any.
    pub modules: Option<PathBuf>,
}

impl Image {
    /// Whether it was taken out of a package.
    pub fn is_of_debian(&self) -> bool {
        !self.version.is_empty()
    }
}

impl<'a> Store<'a> {
    /// A store below `directory`.
    pub fn new(directory: &Path, arch: &'a Arch) -> Self {
        Self { directory: directory.to_owned(), arch, apt: None, indexes: BTreeMap::new() }
    }

    /// The locked kernel of the series, fetched when it is not here yet.
    ///
    /// One that is not locked, or that the mirror no longer has, is replaced by the newest, with a notice: an old
    /// lock should not keep anybody from testing.
    pub fn image(&mut self, kernel: &Kernel, lock: &Lock, notices: &mut Vec<String>) -> Result<Image> {
        let image = self.found(kernel, lock, notices)?;
        check_modules(kernel, &image)?;
        Ok(image)
    }

    fn found(&mut self, kernel: &Kernel, lock: &Lock, notices: &mut Vec<String>) -> Result<Image> {
        let series = &kernel.series;
        let locked = lock.find(series, self.arch.debian);
        if let Some(image) = locked.map(|locked| self.unpacked(locked)).filter(|image| image.path.exists()) {
            return Ok(image);
        }
        let offered = self.offered(kernel)?;
        let same_version = |it: &&Locked| locked.is_some_and(|locked| it.version == locked.version);
        if let Some(chosen) = offered.iter().find(same_version) {
            ensure!(locked == Some(chosen), "{series}: the mirror's packages are not the locked ones");
            return self.fetch(chosen);
        }
        let newest = self.newest(kernel)?;
        let state = if locked.is_some() { "names a version that the mirror lost" } else { "has no entry" };
        notices.push(format!(
            "kernels.lock {state} for {series} on {}: took {}; `just kernels-update` renews it",
            self.arch.debian, newest.version
        ));
        self.fetch(&newest)
    }

    /// The newest kernel of the series.
    pub fn newest(&mut self, kernel: &Kernel) -> Result<Locked> {
        let newest = self.offered(kernel)?.into_iter().max_by_key(|locked| numbers(&locked.version));
        newest.with_context(|| {
            format!("no cloud kernel {} for {} in {}", kernel.series, self.arch.debian, kernel.suite)
        })
    }

    /// Every kernel of the series that the suite has.
    fn offered(&mut self, kernel: &Kernel) -> Result<Vec<Locked>> {
        let arch = self.arch.debian;
        if self.apt.is_none() {
            self.apt = Some(AptRoot::update(&self.directory.join("apt").join(arch), arch)?);
        }
        let apt = self.apt.as_ref().context("no apt root")?;
        if !self.indexes.contains_key(&kernel.suite) {
            let packages = apt.packages(&kernel.suite, "linux-")?;
            self.indexes.insert(kernel.suite.clone(), packages);
        }
        Ok(group(&self.indexes[&kernel.suite], &kernel.series, arch))
    }

    fn unpacked(&self, locked: &Locked) -> Image {
        let directory = self
            .directory
            .join("kernels")
            .join(&locked.arch)
            .join(format!("{}-{}", locked.series, locked.version));
        Image {
            series: locked.series.clone(),
            version: locked.version.clone(),
            path: directory.join("vmlinuz"),
            modules: Some(directory.join("modules")),
        }
    }

    /// Everything goes into a directory beside, which gets its name when it is complete.
    fn fetch(&self, chosen: &Locked) -> Result<Image> {
        let image = self.unpacked(chosen);
        if image.path.exists() {
            return Ok(image);
        }
        let directory = image.path.parent().context("an image stands in a directory")?;
        let partial = PathBuf::from(format!("{}.partial", directory.display()));
        fs::create_dir_all(partial.join("modules"))?;
        let apt = self.apt.as_ref().context("no apt root")?;
        for package in &chosen.packages {
            eprintln!("{}: fetching {} {}", chosen.series, package.name, chosen.version);
            let file = apt.download(&package.name, &chosen.version, &partial)?;
            let sum = checksum(&file)?;
            ensure!(sum == package.sha256, "{} has checksum {sum}, not {}", file.display(), package.sha256);
            extract(&file, &partial)?;
            fs::remove_file(file)?;
        }
        ensure!(partial.join("vmlinuz").exists(), "no kernel image in the packages of {}", chosen.version);
        fs::rename(&partial, directory)?;
        Ok(image)
    }
}

/// Without modules, scenarios are left out: that may happen where `kernels.toml` says so, and nowhere else.
fn check_modules(kernel: &Kernel, image: &Image) -> Result<()> {
    let Some(directory) = &image.modules else { return Ok(()) };
    let has_some = fs::read_dir(directory).with_context(|| directory.display().to_string())?.next().is_some();
    let (series, version) = (&kernel.series, &image.version);
    ensure!(has_some || kernel.without_modules, "the packages of {series} ({version}) have no modules");
    ensure!(
        !has_some || !kernel.without_modules,
        "the packages of {series} ({version}) have modules after all: take `without_modules` out of kernels.toml"
    );
    Ok(())
}

/// The packages of a series by the kernel that they belong to.
fn group(packages: &[Package], series: &str, arch: &str) -> Vec<Locked> {
    let flavour = format!("-cloud-{arch}");
    let mut kernels: BTreeMap<(&str, &str), Vec<LockedPackage>> = BTreeMap::new();
    for package in packages {
        let release = KINDS.iter().find_map(|kind| package.name.strip_prefix(kind));
        let Some(release) = release.filter(|it| it.ends_with(&flavour)) else { continue };
        let is_of_series = |it: &str| it.strip_prefix(series).is_some_and(|rest| rest.starts_with('.'));
        if is_of_series(release) && is_of_series(&package.version) {
            let locked = LockedPackage { name: package.name.clone(), sha256: package.sha256.clone() };
            kernels.entry((release, &package.version)).or_default().push(locked);
        }
    }
    let locked = |((_, version), mut packages): ((&str, &str), Vec<LockedPackage>)| {
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Locked { series: series.to_owned(), arch: arch.to_owned(), version: version.to_owned(), packages }
    };
    kernels.into_iter().map(locked).collect()
}

/// The runs of digits, for comparing versions of one series in one suite.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|run| run.parse().ok()).collect()
}

fn checksum(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(format!("{:x}", hasher.finalize()))
}

/// Takes the image out of a package (`boot/vmlinuz-*`, or since 7.2 `usr/lib/modules/*/vmlinuz`), and modules.
fn extract(package: &Path, directory: &Path) -> Result<()> {
    let mut unpack = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting dpkg-deb")?;
    let mut archive = tar::Archive::new(unpack.stdout.take().context("no pipe")?);
    // All of it is read, so that dpkg-deb comes to its end and can say that the package is whole.
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path()?.into_owned();
        if let Some(target) = target(&path) {
            io::copy(&mut entry, &mut File::create(directory.join(target))?)?;
        }
    }
    ensure!(unpack.wait()?.success(), "dpkg-deb cannot read {}", package.display());
    Ok(())
}

/// Where a file of a package goes; names of modules are unique in a kernel.
fn target(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let path = path.to_str()?;
    if name == "vmlinuz" || name.starts_with("vmlinuz-") {
        Some("vmlinuz".into())
    } else if name.contains(".ko") && MODULES.iter().any(|part| path.contains(part)) {
        Some(Path::new("modules").join(name))
    } else {
        None
    }
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

    #[test]
    fn packages_of_one_kernel_stay_together() {
        let package = |name: &str, version: &str| Package {
            name: name.to_owned(),
            version: version.to_owned(),
            sha256: name.to_owned(),
            size: 1,
        };
        let packages = [
            package("linux-modules-7.2.12+deb13-cloud-amd64", "7.2.12-1"),
            package("linux-binary-7.2.12+deb13-cloud-amd64", "7.2.12-1"),
            package("linux-binary-7.2.11+deb13-cloud-amd64", "7.2.11-1"),
            package("linux-binary-7.2.12+deb13-amd64", "7.2.12-1"),
            package("linux-binary-7.20.1+deb13-cloud-amd64", "7.20.1-1"),
            package("linux-image-cloud-amd64", "7.2.12-1"),
        ];
        let grouped = group(&packages, "7.2", "amd64");
        let names: Vec<Vec<&str>> = grouped
            .iter()
            .map(|it| it.packages.iter().map(|package| package.name.as_str()).collect())
            .collect();
        assert_eq!(names[0], ["linux-binary-7.2.11+deb13-cloud-amd64"]);
        assert_eq!(
            names[1],
            ["linux-binary-7.2.12+deb13-cloud-amd64", "linux-modules-7.2.12+deb13-cloud-amd64"]
        );
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn image_and_modules_are_taken_from_where_they_stand() {
        let taken = |path: &str| target(Path::new(path)).map(|path| path.display().to_string());
        assert_eq!(taken("./boot/vmlinuz-6.1.0"), Some("vmlinuz".to_owned()));
        assert_eq!(taken("./usr/lib/modules/7.2/vmlinuz"), Some("vmlinuz".to_owned()));
        assert_eq!(
            taken("./lib/modules/6.1/kernel/net/sched/sch_netem.ko.xz").as_deref(),
            Some("modules/sch_netem.ko.xz")
        );
        assert_eq!(taken("./lib/modules/6.1/kernel/drivers/gpu/drm.ko"), None);
    }
}
