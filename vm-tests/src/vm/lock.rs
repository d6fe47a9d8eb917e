//! `kernels.lock`: which packages of each series were last resolved, and their checksums.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

const HEADER: &str = "# Written by `just kernels-update`.\n\n";

/// One resolved kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// `6.1`.
    pub series: String,
    /// `amd64`.
    pub arch: String,
    /// The packages' version.
    pub version: String,
    /// The packages that image and modules are in: one, or since 6.19 several.
    #[serde(rename = "package")]
    pub packages: Vec<LockedPackage>,
}

/// One package file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// The package's name.
    pub name: String,
    /// Checksum of the package file.
    pub sha256: String,
}

/// The whole file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Lock {
    #[serde(default, rename = "kernel")]
    kernels: Vec<Locked>,
}

impl Lock {
    /// Where the file stands in this checkout.
    pub fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels.lock")
    }

    /// Reads the file; one that is not there is empty.
    pub fn load(path: &Path) -> Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).with_context(|| format!("{}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// Writes the file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = HEADER.to_owned() + &toml::to_string(self)?;
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// The entry of a series.
    pub fn find(&self, series: &str, arch: &str) -> Option<&Locked> {
        self.kernels.iter().find(|locked| locked.series == series && locked.arch == arch)
    }

    /// Replaces the entry of the same series and architecture, and says whether that changed anything.
    pub fn set(&mut self, new: Locked) -> bool {
        let same = |old: &&mut Locked| old.series == new.series && old.arch == new.arch;
        match self.kernels.iter_mut().find(same) {
            Some(old) if *old == new => false,
            Some(old) => {
                *old = new;
                true
            }
            None => {
                self.kernels.push(new);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(version: &str) -> Locked {
        let package = |name: &str| LockedPackage { name: name.to_owned(), sha256: "00".to_owned() };
        Locked {
            series: "6.1".to_owned(),
            arch: "amd64".to_owned(),
            version: version.to_owned(),
            packages: vec![package("linux-image"), package("linux-modules")],
        }
    }

    #[test]
    fn what_is_saved_is_loaded() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("kernels.lock");
        let mut lock = Lock::load(&path)?;
        assert!(lock.set(locked("1")));
        assert!(!lock.set(locked("1")));
        assert!(lock.set(locked("2")));
        lock.save(&path)?;
        assert_eq!(Lock::load(&path)?.find("6.1", "amd64"), Some(&locked("2")));
        assert_eq!(Lock::load(&path)?.find("6.1", "arm64"), None);
        Ok(())
    }
}
