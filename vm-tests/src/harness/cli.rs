//! Runs of the binary that end by themselves.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::eventually;

const RUN_LIMIT: Duration = Duration::from_secs(45);

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// The exit code, or `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Runs `binary` with these arguments.
    pub fn of(binary: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(arguments);
        Self::of_command(command)
    }

    /// Runs a command; one that does not end in time, or panics, is an error.
    pub fn of_command(command: Command) -> Result<Self> {
        Self::within(RUN_LIMIT, command)
    }

    /// As [`Run::of_command`], for what takes its time.
    pub fn within(limit: Duration, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let stdout = read_aside(child.stdout.take())?;
        let stderr = read_aside(child.stderr.take())?;
        let code = wait(&mut child, limit).with_context(|| format!("{command:?}"));
        let run = Self {
            stdout: stdout.join().unwrap_or_default(),
            stderr: stderr.join().unwrap_or_default(),
            code: code?,
        };
        ensure!(!run.stderr.contains("panicked at"), "{command:?} panicked: {run:?}");
        Ok(run)
    }

    /// Requires this exit code, and each of `words` somewhere on standard error.
    pub fn complains(&self, code: i32, words: &[&str]) -> Result<()> {
        ensure!(self.code == Some(code), "exit code should be {code}: {self:?}");
        for word in words {
            ensure!(self.stderr.contains(word), "standard error should say {word:?}: {self:?}");
        }
        Ok(())
    }
}

fn read_aside<R: Read + Send + 'static>(pipe: Option<R>) -> Result<thread::JoinHandle<String>> {
    let mut pipe = pipe.context("no pipe")?;
    Ok(thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }))
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<i32>> {
    if let Some(status) = eventually(limit, || Ok(child.try_wait()?))? {
        return Ok(status.code());
    }
    child.kill()?;
    child.wait()?;
    bail!("still running after {limit:?}")
}
