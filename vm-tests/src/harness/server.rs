//! A running `synscope serve`.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Api, eventually};

const START_LIMIT: Duration = Duration::from_secs(45);
const LOG_LIMIT: Duration = Duration::from_secs(20);

/// The process, its data directory and a client for it. Dropping it kills the process.
pub struct Server {
    process: Child,
    api: Api,
    directory: TempDir,
}

impl Server {
    /// Starts `binary` on a free port of 127.0.0.1 with an empty data directory.
    pub fn start(binary: &Path) -> Result<Self> {
        Self::start_with(binary, |_| {})
    }

    /// As [`Server::start`], after `change` had its way with the command.
    pub fn start_with(binary: &Path, change: impl FnOnce(&mut Command)) -> Result<Self> {
        Self::start_at("127.0.0.1:0", binary, change)
    }

    /// As [`Server::start_with`], listening elsewhere.
    pub fn start_at(listen: &str, binary: &Path, change: impl FnOnce(&mut Command)) -> Result<Self> {
        let directory = scratch()?;
        let data = directory.path().join("data");
        Self::start_for(directory, listen, Command::new(binary), &data, change)
    }

    /// As [`Server::start_with`], with a data directory that is there already, or outlives the server.
    pub fn start_in(data: &Path, binary: &Path, change: impl FnOnce(&mut Command)) -> Result<Self> {
        Self::start_for(scratch()?, "127.0.0.1:0", Command::new(binary), data, change)
    }

    /// As [`Server::start`], by a command that becomes the server.
    pub fn start_as(command: Command) -> Result<Self> {
        let directory = scratch()?;
        let data = directory.path().join("data");
        Self::start_for(directory, "127.0.0.1:0", command, &data, |_| {})
    }

    fn start_for(
        directory: TempDir,
        listen: &str,
        mut command: Command,
        data: &Path,
        change: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        command
            .args(["serve", "--listen", listen, "--data-dir"])
            .arg(data)
            // Neither a full disk nor many scenarios in a minute are what most of them are about.
            .args(["--history-keep-free-mib", "0", "--starts-per-minute", "6000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log_path(&directory))?);
        change(&mut command);
        let mut process = command.spawn().with_context(|| format!("starting {command:?}"))?;
        match first_line(&mut process) {
            Ok(line) => {
                let (origin, token) = parse_url(&line)?;
                Ok(Self { api: Api::new(origin, token), process, directory })
            }
            Err(error) => {
                let status = stop_for_good(&mut process);
                let log = fs::read_to_string(log_path(&directory)).unwrap_or_default();
                bail!("the server did not start ({status}): {error}\n{log}");
            }
        }
    }

    /// The client that knows this server's address and token.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(log_path(&self.directory)).unwrap_or_default()
    }

    /// Waits until the log has this in it: what is logged may be so after the answer is there.
    pub fn logs(&self, words: &str) -> Result<()> {
        let said = eventually(LOG_LIMIT, || Ok(self.log().contains(words).then_some(())))?;
        said.with_context(|| format!("{words:?} is not in the log:\n{}", self.log()))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).context("signalling the server")
    }

    /// Waits for the process to end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = eventually(limit, || Ok(self.process.try_wait()?))?;
        ended.with_context(|| format!("the server still runs after {limit:?}; its log:\n{}", self.log()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop_for_good(&mut self.process);
    }
}

/// A directory for the log of one run, and for its data.
fn scratch() -> Result<TempDir> {
    let directory = tempfile::Builder::new().prefix("synscope-test-").tempdir()?;
    // The server may be started as another user.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777))?;
    Ok(directory)
}

fn log_path(directory: &TempDir) -> PathBuf {
    directory.path().join("server.log")
}

/// The one line on standard output. It is read on a thread, because a server that hangs prints nothing.
fn first_line(process: &mut Child) -> Result<String> {
    let stdout = process.stdout.take().context("no standard output")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        // Nobody listens any more when the limit has passed.
        let _ = sender.send(read.map(|_| line));
    });
    let line = receiver.recv_timeout(START_LIMIT).context("no line on standard output")??;
    if line.is_empty() {
        bail!("standard output was closed without a line")
    }
    Ok(line)
}

fn parse_url(line: &str) -> Result<(&str, &str)> {
    let known =
        |origin: &str| ["http://", "https://", "unix:"].iter().any(|scheme| origin.starts_with(scheme));
    line.trim_end()
        .split_once("#token=")
        .map(|(origin, token)| (origin.trim_end_matches('/'), token))
        .filter(|(origin, token)| known(origin) && !token.is_empty())
        .with_context(|| format!("not the URL of a server with its token: {line:?}"))
}

fn stop_for_good(process: &mut Child) -> String {
    // Killing fails when the process has ended, and waiting then still collects it.
    let _ = process.kill();
    process.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_gives_origin_and_token() {
        let (origin, token) = parse_url("http://127.0.0.1:7117/#token=abc\n").unwrap();
        assert_eq!((origin, token), ("http://127.0.0.1:7117", "abc"));
        assert!(parse_url("http://127.0.0.1:7117/\n").is_err());
        assert!(parse_url("http://127.0.0.1:7117/#token=\n").is_err());
    }
}
