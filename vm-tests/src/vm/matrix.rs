//! Several machines at once.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::arch::Arch;
use super::machine::{self, Report};
use super::package::Image;
use super::protocol::{Ended, Record};
use super::qemu::{Accelerator, Boot};

/// What every machine of a run shares.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The architecture.
    pub arch: &'static Arch,
    /// The initramfs.
    pub initramfs: &'a Path,
    /// The directory of console logs.
    pub logs: &'a Path,
    /// What runs the guests.
    pub accelerator: Accelerator,
    /// More words for the kernels' command lines.
    pub words: &'a str,
    /// How long one machine may take.
    pub limit: Duration,
    /// How many run at once.
    pub jobs: usize,
}

/// Runs every image and returns the reports in the images' order.
pub fn run(setup: &Setup<'_>, images: &[Image]) -> Result<Vec<Report>> {
    let next = AtomicUsize::new(0);
    let reports: Mutex<Vec<(usize, Result<Report>)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..setup.jobs.min(images.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(image) = images.get(index) else { return };
                    let report = run_one(setup, image);
                    reports.lock().unwrap_or_else(PoisonError::into_inner).push((index, report));
                }
            });
        }
    });
    let mut reports = reports.into_inner().context("a machine's thread panicked")?;
    reports.sort_by_key(|(index, _)| *index);
    reports.into_iter().map(|(_, report)| report).collect()
}

fn run_one(setup: &Setup<'_>, image: &Image) -> Result<Report> {
    let series = &image.series;
    eprintln!("{series}: booting {}", image.version);
    let console = setup.logs.join(format!("{series}.console"));
    let boot = Boot {
        arch: setup.arch,
        kernel: &image.path,
        initramfs: setup.initramfs,
        console: &console,
        words: setup.words,
    };
    let report = machine::run(series, &boot, setup.accelerator, setup.limit, |record| {
        tell(series, record);
    })?;
    let word = if report.is_good() { "good" } else { "BAD" };
    eprintln!("{series}: {word} after {:.1} s", report.took.as_secs_f64());
    Ok(report)
}

/// Progress worth a line: what failed at once, what passed in the final table.
fn tell(series: &str, record: &Record) {
    match record {
        Record::Hello { kernel, uptime_s, .. } => {
            eprintln!("{series}: {kernel} reached user space after {uptime_s:.1} s");
        }
        Record::Result { scenario, outcome: Ended::Failed, detail, .. } => {
            eprintln!("{series}: {scenario} FAILED: {detail}");
        }
        _ => {}
    }
}
