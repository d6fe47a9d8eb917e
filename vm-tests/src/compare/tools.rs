//! The tools that can run here, and how to read what they print.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// One of a peer's programs.
pub(super) struct Tool {
    pub name: &'static str,
    pub peer: &'static str,
    command: &'static [&'static str],
    /// On a line, once for each SYN that was sent again.
    pub retransmit: &'static str,
    /// On a line when the attempt failed.
    pub failed: &'static str,
    /// On a line when the connection came about.
    pub established: &'static str,
}

impl Tool {
    /// What must be there for it to run.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> + use<> {
        let words = self.command.iter();
        words.filter(|word| word.starts_with('/')).map(PathBuf::from)
    }
}

/// The script that was written for this.
const OWN: &str = "attempts.bt";
const OWN_SCRIPT: &str = include_str!("attempts.bt");

/// Nothing that a tool prints has it.
const NEVER: &str = "\0";

const fn tool(name: &'static str, peer: &'static str, command: &'static [&'static str]) -> Tool {
    Tool { name, peer, command, retransmit: NEVER, failed: NEVER, established: NEVER }
}

pub(super) const SYNSCOPE: &str = "Synscope";
pub(super) const BCC: &str = "bcc (libbpf-tools)";
pub(super) const BPFTRACE: &str = "bpftrace, its tools";
pub(super) const SCRIPT: &str = "bpftrace, a script";

/// Those of Debian's packages that have to do with connects. Lines' runs of blanks are one blank when they are read.
pub(super) const TOOLS: &[Tool] = &[
    Tool {
        retransmit: "\"event\":\"connect.retransmit\"",
        failed: "\"event\":\"connect.failed\"",
        established: "\"event\":\"connect.established\"",
        ..tool("synscope trace", SYNSCOPE, &["synscope", "trace", "--json", "--drops", "--no-stacks"])
    },
    tool("tcpconnect", BCC, &["/usr/sbin/tcpconnect", "-s"]),
    tool("tcpconnlat", BCC, &["/usr/sbin/tcpconnlat", "-L"]),
    Tool {
        failed: "SYN_SENT -> CLOSE",
        established: "SYN_SENT -> ESTABLISHED",
        ..tool("tcpstates", BCC, &["/usr/sbin/tcpstates"])
    },
    Tool { established: "C ", ..tool("tcptracer", BCC, &["/usr/sbin/tcptracer"]) },
    tool("tcplife", BCC, &["/usr/sbin/tcplife"]),
    tool("tcpsynbl", BCC, &["/usr/sbin/tcpsynbl"]),
    tool("tcpconnect.bt", BPFTRACE, &["/usr/bin/bpftrace", "/usr/sbin/tcpconnect.bt"]),
    Tool {
        retransmit: "SYN_SENT",
        ..tool("tcpretrans.bt", BPFTRACE, &["/usr/bin/bpftrace", "/usr/sbin/tcpretrans.bt"])
    },
    tool("tcpdrop.bt", BPFTRACE, &["/usr/bin/bpftrace", "/usr/sbin/tcpdrop.bt"]),
    tool("tcplife.bt", BPFTRACE, &["/usr/bin/bpftrace", "/usr/sbin/tcplife.bt"]),
    tool("tcpsynbl.bt", BPFTRACE, &["/usr/bin/bpftrace", "/usr/sbin/tcpsynbl.bt"]),
    Tool {
        retransmit: "retransmit",
        failed: "end CLOSE",
        established: "end ESTABLISHED",
        ..tool("attempts.bt", SCRIPT, &["/usr/bin/bpftrace", OWN])
    },
];

/// How long a tool may take until it is attached, and to end.
const LIMIT: Duration = Duration::from_mins(1);
/// It is attached when nothing was added for so long.
const SETTLED: Duration = Duration::from_secs(2);

/// The line that says why a tool ended at once.
fn complaint(said: &str) -> Option<&str> {
    // bpftrace begins with it where it may not raise its limit, and goes on.
    let lines =
        || said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("RLIMIT_MEMLOCK"));
    let is_error = |line: &&str| ["ERROR", "error:", "failed"].iter().any(|word| line.contains(word));
    lines().find(is_error).or_else(|| lines().next_back())
}

/// A tool that is attached.
pub(super) struct Running {
    child: Child,
    output: TempDir,
}

impl Running {
    pub(super) fn start(tool: &Tool, synscope: &Path, patience: f64) -> Result<Self> {
        let output = tempfile::tempdir()?;
        let script = output.path().join(OWN);
        fs::write(&script, OWN_SCRIPT)?;
        let file = File::create(output.path().join("out"))?;
        if let Some(missing) = tool.files().find(|file| !file.exists()) {
            bail!("{} is not installed", missing.display());
        }
        let program = if tool.peer == SYNSCOPE { synscope } else { Path::new(tool.command[0]) };
        let child = Command::new(program)
            .args(
                tool.command[1..]
                    .iter()
                    .map(|word| if *word == OWN { script.as_path() } else { Path::new(word) }),
            )
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| tool.name)?;
        let mut running = Self { child, output };
        running.wait_until_attached(patience)?;
        Ok(running)
    }

    /// Attached programs are descriptors of its process; when their number stays, all of them are there.
    fn wait_until_attached(&mut self, patience: f64) -> Result<()> {
        let begun = Instant::now();
        let (mut attached, mut since) = (0, Instant::now());
        while attached == 0 || since.elapsed() < SETTLED.mul_f64(patience) {
            if let Some(status) = self.child.try_wait()? {
                let said = self.said()?;
                bail!("{}", complaint(&said).map_or_else(|| status.to_string(), str::to_owned));
            }
            if begun.elapsed() > LIMIT.mul_f64(patience) {
                bail!("attached nothing within {:?}", LIMIT.mul_f64(patience));
            }
            let now = self.descriptors();
            if now != attached {
                (attached, since) = (now, Instant::now());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn descriptors(&self) -> usize {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        let targets =
            entries.into_iter().flatten().flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        let is_program =
            |target: &str| ["perf_event", "bpf_link", "raw-tracepoint"].iter().any(|it| target.contains(it));
        targets.filter(|target| target.to_str().is_some_and(is_program)).count()
    }

    fn said(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.output.path().join("out"))?).into_owned())
    }

    /// Ends it as Ctrl-C does, and returns all that it printed.
    pub(super) fn end(mut self, patience: f64) -> Result<String> {
        // What was seen last is on its way.
        thread::sleep(Duration::from_secs(1).mul_f64(patience));
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("its id")?;
        kill_process(pid, Signal::INT)?;
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() && begun.elapsed() < LIMIT.mul_f64(patience) {
            thread::sleep(Duration::from_millis(50));
        }
        self.said()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, mostly.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
