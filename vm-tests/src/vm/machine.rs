//! One virtual machine from boot to verdict.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::console::{self, Finding};
use super::protocol::{Record, patience};
use super::qemu::{Accelerator, Boot, Qemu};
use super::verdict::{Transcript, Verdict};

/// How long a guest may take to reach user space, with every core of the host busy.
const BOOT_LIMIT: Duration = Duration::from_mins(2);
/// How long nothing may end or begin: longer than the limit that the guest sets for each scenario. Multiplied by the
/// [`patience`] that the machine needs, as the guest does.
const SILENCE_LIMIT: Duration = Duration::from_secs(200);
/// A console that says more than this says nothing.
const CONSOLE_LIMIT: u64 = 8 << 20;
const CONSOLE_TAIL: usize = 15;

/// The whole outcome of one machine.
#[derive(Debug)]
pub struct Report {
    /// The kernel's series, or the image's name.
    pub series: String,
    /// What the guest said, judged.
    pub verdict: Verdict,
    /// What the console said.
    pub findings: Vec<Finding>,
    /// The console's last lines, when something is wrong.
    pub console_tail: String,
    /// The console's file.
    pub console: PathBuf,
    /// From starting QEMU to the start of the first scenario.
    pub first_scenario: Option<Duration>,
    /// From starting QEMU to its end.
    pub took: Duration,
    /// Processor time of QEMU.
    pub processor: Option<Duration>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.verdict.is_good() && !self.findings.iter().any(|finding| finding.fatal)
    }
}

/// Boots, listens until the guest ends or a limit passes, and judges.
pub fn run(
    series: &str,
    boot: &Boot<'_>,
    accelerator: Accelerator,
    limit: Duration,
    progress: impl Fn(&Record),
) -> Result<Report> {
    let begun = Instant::now();
    let mut qemu = Qemu::start(boot, accelerator)?;
    let lines = qemu.lines()?;
    let mut transcript = Transcript::default();
    let first_scenario = Cell::new(None);
    let progress = |record: &Record| {
        if matches!(record, Record::Start { .. }) && first_scenario.get().is_none() {
            first_scenario.set(Some(begun.elapsed()));
            qemu.stand_back();
        }
        progress(record);
    };
    if let Some(trouble) = listen(&lines, &mut transcript, boot, limit, progress) {
        transcript.trouble(trouble);
    }
    let processor = qemu.stop();
    let text = read_end(boot.console).unwrap_or_default();
    let verdict = transcript.finish();
    let findings = console::findings(&text);
    let console_tail = if verdict.is_good() { String::new() } else { console::tail(&text, CONSOLE_TAIL) };
    Ok(Report {
        series: series.to_owned(),
        verdict,
        findings,
        console_tail,
        console: boot.console.to_owned(),
        first_scenario: first_scenario.get(),
        took: begun.elapsed(),
        processor,
    })
}

/// Feeds the transcript until the guest ends; says what was wrong if it had to be ended.
fn listen(
    lines: &Receiver<String>,
    transcript: &mut Transcript,
    boot: &Boot<'_>,
    limit: Duration,
    progress: impl Fn(&Record),
) -> Option<String> {
    let begun = Instant::now();
    let mut heard = begun;
    loop {
        match lines.recv_timeout(Duration::from_millis(500)) {
            Ok(line) => {
                heard = Instant::now();
                transcript.feed(&line).iter().for_each(&progress);
            }
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if transcript.is_hopeless() {
            return Some(format!("the results were flooded{}", during(transcript)));
        }
        let patience = transcript.uptime_s().map_or(1.0, patience);
        if begun.elapsed() > limit.mul_f64(patience) {
            return Some(format!("out of time{}", during(transcript)));
        }
        let (silence, what) = if transcript.uptime_s().is_some() {
            (SILENCE_LIMIT.mul_f64(patience), "the guest fell silent")
        } else {
            (BOOT_LIMIT, "the guest did not reach user space")
        };
        if heard.elapsed() > silence {
            return Some(format!("{what}{}", during(transcript)));
        }
        if fs::metadata(boot.console).is_ok_and(|console| console.len() > CONSOLE_LIMIT) {
            return Some(format!("the console was flooded{}", during(transcript)));
        }
    }
}

/// The end of the console, as much as a console that was not flooded can have.
fn read_end(console: &Path) -> io::Result<String> {
    let mut file = File::open(console)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(CONSOLE_LIMIT)))?;
    let mut bytes = Vec::new();
    file.take(CONSOLE_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn during(transcript: &Transcript) -> String {
    match transcript.running() {
        [] => String::new(),
        running => format!(" during {}", running.join(", ")),
    }
}

#[cfg(test)]
mod tests;
