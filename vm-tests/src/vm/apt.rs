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
const HELPER: &str = "/usr/lib/apt/apt-helper";

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
        ensure!(Path::new(HELPER).exists(), "fetching kernels needs apt; --kernel-image does not");
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
            let output = Command::new(HELPER).args(["cat-file", index]).output()?;
            ensure!(output.status.success(), "apt-helper cannot read {index}");
            let text = String::from_utf8_lossy(&output.stdout);
            found.extend(text.split("\n\n").filter_map(stanza).filter(|it| it.name.starts_with(prefix)));
        }
        Ok(found)
    }

    /// Downloads one package file into `directory` and returns its path. apt checks it against the signed index.
    pub fn download(&self, package: &str, version: &str, directory: &Path) -> Result<PathBuf> {
        fs::create_dir_all(directory)?;
        let wanted = format!("{package}={version}");
        // `apt-get download` itself begins anew when it was interrupted; apt's helper goes on where it was.
        let answer = self.apt_get(&["download", "--print-uris", &wanted])?;
        let Offer { uri, name, checksum } =
            Offer::read(&answer).with_context(|| format!("apt offers no {wanted}, but: {answer}"))?;
        let path = directory.join(name);
        match fetch(uri, &path, checksum, &self.settings()) {
            Err(error) if error.to_string().contains("404 ") => Err(Gone(wanted).into()),
            fetched => fetched.map(|()| path),
        }
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

/// Where a file is to be had, as `apt-get download --print-uris` says: `'URI' NAME SIZE CHECKSUM`.
struct Offer<'a> {
    uri: &'a str,
    name: &'a str,
    checksum: &'a str,
}

impl<'a> Offer<'a> {
    fn read(answer: &'a str) -> Option<Self> {
        let (uri, rest) = answer.trim().strip_prefix('\'')?.split_once("' ")?;
        let mut words = rest.split(' ');
        Some(Self { uri, name: words.next()?, checksum: words.nth(1)? })
    }
}

/// Downloads, with what is there already as a beginning.
fn fetch(uri: &str, path: &Path, checksum: &str, settings: &Path) -> Result<()> {
    let mut command = Command::new(HELPER);
    command.args(["download-file", uri]).arg(path).arg(checksum).env("APT_CONFIG", settings);
    // apt shows its progress on a terminal, and lines elsewhere.
    command.stdout(std::io::stderr()).stderr(Stdio::piped());
    let output = command.spawn().and_then(Child::wait_with_output).context("starting apt")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {}", errors.trim());
    Ok(())
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
    use std::fs::{File, FileTimes};
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread;
    use std::time::{Duration, SystemTime};

    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn an_offer_is_read() {
        let answer = "'http://m/x_6%2b1.deb' x_6+1_amd64.deb 26713492 SHA256:00ff\n";
        let Offer { uri, name, checksum } = Offer::read(answer).unwrap();
        assert_eq!((uri, name, checksum), ("http://m/x_6%2b1.deb", "x_6+1_amd64.deb", "SHA256:00ff"));
        assert!(Offer::read("Get:1 http://m/x.deb").is_none());
    }

    /// Serves the rest of the text, from where it is asked for, to one client.
    fn serve_rest(
        text: &'static str,
        date: &'static str,
    ) -> Result<(String, thread::JoinHandle<Result<()>>)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let uri = format!("http://{}/x.deb", listener.local_addr()?);
        let server = thread::spawn(move || {
            let mut client = BufReader::new(listener.accept()?.0);
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") {
                ensure!(client.read_line(&mut request)? > 0, "half a request: {request}");
            }
            ensure!(request.contains(&format!("If-Range: {date}")), "{request}");
            let from = request.split_once("Range: bytes=").and_then(|(_, rest)| rest.split_once('-'));
            let from: usize = from.context("no range")?.0.parse()?;
            let (rest, all) = (&text[from..], text.len());
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nLast-Modified: {date}\r\n\
                 Content-Range: bytes {from}-{}/{all}\r\n\r\n",
                rest.len(),
                all - 1
            );
            Ok(client.get_mut().write_all((head + rest).as_bytes())?)
        });
        Ok((uri, server))
    }

    #[test]
    fn an_interrupted_download_goes_on_where_it_was() -> Result<()> {
        const WHOLE: &str = "the first half, the second half";
        if !Path::new(HELPER).exists() {
            eprintln!("no apt here: nothing is downloaded by it");
            return Ok(());
        }
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("x.deb");
        let settings = directory.path().join("apt.conf");
        fs::write(&settings, "APT::Sandbox::User \"root\";\nAcquire::http::Proxy \"DIRECT\";\n")?;
        fs::write(&path, &WHOLE[..15])?;
        // apt gives what it has the date of what it fetches.
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::options().write(true).open(&path)?.set_times(FileTimes::new().set_modified(date))?;
        let (uri, server) = serve_rest(WHOLE, "Sun, 09 Sep 2001 01:46:40 GMT")?;
        let checksum = format!("SHA256:{:x}", Sha256::digest(WHOLE));
        fetch(&uri, &path, &checksum, &settings)?;
        server.join().expect("the server panicked")?;
        assert_eq!(fs::read_to_string(&path)?, WHOLE);
        Ok(())
    }

    #[test]
    fn a_stanza_is_read() {
        let text = "Package: linux-image-6.1.0-56-cloud-amd64\nInstalled-Size: 9\nVersion: 6.1.192-2\n\
                    Filename: pool/x.deb\nSize: 26713492\nSHA256: 00ff\nDescription: Version: 7";
        let package = stanza(text).unwrap();
        assert_eq!((package.version.as_str(), package.size), ("6.1.192-2", 26_713_492));
        assert_eq!(stanza("Package: half"), None);
    }
}
