//! A private apt root: other suites and architectures, on the mirror that this machine already uses.

use std::collections::BTreeMap;
use std::env;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::kernels;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const CAT_FILE: &str = "/usr/lib/apt/apt-helper";

/// Names the mirror where the machine's own is not Debian's.
const MIRROR: &str = "SYNSCOPE_DEBIAN_MIRROR";
/// Names the mirror of the security suites, if it is not beside the other.
const SECURITY_MIRROR: &str = "SYNSCOPE_DEBIAN_SECURITY_MIRROR";

/// The root and its configuration.
#[derive(Debug)]
pub struct AptRoot {
    directory: PathBuf,
}

/// One version of a package, as a suite's index describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Checksum of its file.
    pub sha256: String,
    /// Bytes of its file.
    pub size: u64,
}

/// A package that the mirror lists and does not have.
#[derive(Debug)]
pub struct Gone(String);

impl std::error::Error for Gone {}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the mirror lists {} and does not have it", self.0)
    }
}

/// Where suites come from.
struct Mirrors {
    main: String,
    security: String,
    /// The suites that this machine itself uses: its toolchain is from there.
    own: BTreeMap<String, String>,
}

impl AptRoot {
    /// Lays out the root and fetches the indexes of the kernels' suites, and of this machine's own.
    pub fn update(directory: &Path, arch: &str) -> Result<Self> {
        ensure!(Path::new(CAT_FILE).exists(), "fetching kernels needs apt; --kernel-image does not");
        let suites = Mirrors::find()?.suites()?;
        let names: Vec<&str> = suites.keys().map(String::as_str).collect();
        eprintln!("fetching package indexes of {arch}: {}", names.join(", "));
        let root = Self { directory: directory.to_owned() };
        root.lay_out(arch, &suites)?;
        root.apt_get(&["update", "-q"])?;
        Ok(root)
    }

    /// Every package in a suite's index whose name starts with `prefix`.
    pub fn packages(&self, suite: &str, prefix: &str) -> Result<Vec<Package>> {
        let format = "$(RELEASE) $(FILENAME)";
        let targets = self.apt_get(&["indextargets", "--format", format, "Created-By: Packages"])?;
        let mut found = Vec::new();
        for (_, index) in pairs(&targets).filter(|(release, _)| *release == suite) {
            let output = Command::new(CAT_FILE).args(["cat-file", index]).output()?;
            ensure!(output.status.success(), "apt-helper cannot read {index}");
            let text = String::from_utf8_lossy(&output.stdout);
            found.extend(text.split("\n\n").filter_map(stanza).filter(|it| it.name.starts_with(prefix)));
        }
        Ok(found)
    }

    /// Downloads one package file into `directory` and returns its path. apt checks it against the signed index, and
    /// goes on where it was interrupted.
    pub fn download(&self, package: &str, version: &str, directory: &Path) -> Result<PathBuf> {
        fs::create_dir_all(directory)?;
        let wanted = format!("{package}={version}");
        let mut command = Command::new("apt-get");
        command.args(["download", &wanted]).current_dir(directory).env("APT_CONFIG", self.settings());
        // apt shows its progress on a terminal, and lines elsewhere.
        command.stdout(std::io::stderr()).stderr(Stdio::piped());
        let output = command.spawn().and_then(Child::wait_with_output).context("starting apt")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if errors.contains("404 ") {
            return Err(Gone(wanted).into());
        }
        ensure!(output.status.success(), "{command:?} failed: {}", errors.trim());
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                return Ok(path);
            }
        }
        bail!("apt-get downloaded nothing into {}", directory.display())
    }

    fn lay_out(&self, arch: &str, suites: &BTreeMap<String, String>) -> Result<()> {
        for part in ["state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"] {
            fs::create_dir_all(self.directory.join(part))?;
        }
        let keyring = Path::new(KEYRING).exists();
        let options = if keyring { format!("[signed-by={KEYRING}] ") } else { String::new() };
        let mut sources = String::new();
        for (suite, mirror) in suites {
            writeln!(sources, "deb {options}{mirror} {suite} main")?;
        }
        fs::write(self.directory.join("etc/sources.list"), sources)?;
        let directory = self.directory.display();
        let settings = format!(
            "Dir \"{directory}\";\nDir::State \"state\";\nDir::State::status \"/dev/null\";\n\
             Dir::Cache \"cache\";\nDir::Etc \"etc\";\nDir::Etc::sourcelist \"sources.list\";\n\
             Dir::Etc::sourceparts \"-\";\nDir::Etc::trustedparts \"/etc/apt/trusted.gpg.d\";\n\
             APT::Architecture \"{arch}\";\nAPT::Architectures \"{arch}\";\n\
             APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n"
        );
        Ok(fs::write(self.settings(), settings)?)
    }

    fn settings(&self) -> PathBuf {
        self.directory.join("apt.conf")
    }

    fn apt_get(&self, arguments: &[&str]) -> Result<String> {
        self.run(Command::new("apt-get").args(arguments))
    }

    fn run(&self, command: &mut Command) -> Result<String> {
        let output = command.env("APT_CONFIG", self.settings()).output().context("starting apt")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        // `apt-get update` ends well when an index could not be fetched.
        ensure!(
            output.status.success() && !errors.contains("Failed to fetch"),
            "{command:?} failed: {}",
            errors.trim()
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Mirrors {
    /// The machine's own, unless the environment names others.
    fn find() -> Result<Self> {
        let format = "$(RELEASE) $(SITE)";
        let output = Command::new("apt-get")
            .args(["indextargets", "--format", format, "Created-By: Packages", "Origin: Debian"])
            .output()
            .context("starting apt-get")?;
        let targets = String::from_utf8(output.stdout)?;
        let own: BTreeMap<String, String> =
            pairs(&targets).map(|(release, site)| (release.to_owned(), site.to_owned())).collect();
        let site = |security: bool| {
            own.iter()
                .find(|(release, _)| release.ends_with("-security") == security)
                .map(|(_, site)| site.clone())
        };
        let main = env::var(MIRROR).ok().or_else(|| site(false));
        let Some(main) = main else { bail!("apt knows no mirror of Debian; name one in {MIRROR}") };
        let security = env::var(SECURITY_MIRROR).ok().or_else(|| site(true));
        let security = security.unwrap_or_else(|| format!("{}-security", main.trim_end_matches('/')));
        Ok(Self { main, security, own })
    }

    /// Every suite that is needed, and its mirror.
    fn suites(self) -> Result<BTreeMap<String, String>> {
        let Self { main, security, own: mut suites } = self;
        for suite in kernels::suites()? {
            let mirror = if suite.ends_with("-security") { &security } else { &main };
            suites.entry(suite).or_insert_with(|| mirror.clone());
        }
        Ok(suites)
    }
}

fn pairs(lines: &str) -> impl Iterator<Item = (&str, &str)> {
    lines.lines().filter_map(|line| line.split_once(' '))
}

fn stanza(text: &str) -> Option<Package> {
    let field = |name: &str| {
        let value = |line| str::strip_prefix(line, name)?.strip_prefix(": ");
        text.lines().find_map(value).map(str::to_owned)
    };
    Some(Package {
        name: field("Package")?,
        version: field("Version")?,
        sha256: field("SHA256")?,
        size: field("Size")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_is_read() {
        let text = "Package: linux-image-6.1.0-56-cloud-amd64\nInstalled-Size: 9\nVersion: 6.1.192-2\n\
                    Filename: pool/x.deb\nSize: 26713492\nSHA256: 00ff\nDescription: Version: 7";
        let package = stanza(text).unwrap();
        assert_eq!((package.version.as_str(), package.size), ("6.1.192-2", 26_713_492));
        assert_eq!(stanza("Package: half"), None);
    }
}
