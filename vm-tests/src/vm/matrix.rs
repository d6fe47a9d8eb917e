//! Several machines at once.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::arch::Arch;
use super::board::Board;
use super::initramfs;
use super::kernels;
use super::machine::{self, Report};
use super::modules;
use super::package::Image;
use super::programs::Programs;
use super::protocol::Record;
use super::qemu::{Accelerator, Boot};

/// What every machine of a run shares.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The architecture.
    pub arch: &'static Arch,
    /// The programs that run inside.
    pub programs: &'a Programs,
    /// The directory of console logs and of what a machine boots from.
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
pub fn run(setup: &Setup<'_>, images: &[Image], board: &Board) -> Result<Vec<Report>> {
    let next = AtomicUsize::new(0);
    let booting = Booting::new(thread::available_parallelism().map_or(1, usize::from));
    let reports: Mutex<Vec<(usize, Result<Report>)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..setup.jobs.min(images.len()) {
            scope.spawn(|| {
                loop {
                    // The newest take the longest, so they begin: what begins last should not be what all wait for.
                    let begun = next.fetch_add(1, Ordering::Relaxed);
                    let Some(index) = images.len().checked_sub(begun + 1) else { return };
                    let image = &images[index];
                    let report = run_one(setup, image, index, board, &booting);
                    reports.lock().unwrap_or_else(PoisonError::into_inner).push((index, report));
                }
            });
        }
    });
    let mut reports = reports.into_inner().context("a machine's thread panicked")?;
    reports.sort_by_key(|(index, _)| *index);
    reports.into_iter().map(|(_, report)| report).collect()
}

fn run_one(
    setup: &Setup<'_>,
    image: &Image,
    index: usize,
    board: &Board,
    booting: &Booting,
) -> Result<Report> {
    let series = &image.series;
    let name = format!("{}-{series}", setup.arch.debian);
    let console = setup.logs.join(format!("{name}.console"));
    let initramfs = setup.logs.join(format!("{name}.initramfs"));
    prepare(setup.programs, image, &initramfs).with_context(|| name.clone())?;
    let place = Cell::new(Some(booting.place()));
    board.starts(index);
    let boot = Boot {
        arch: setup.arch,
        kernel: &image.path,
        initramfs: &initramfs,
        console: &console,
        processors: None,
        words: setup.words,
    };
    let report = machine::run(series, &boot, setup.accelerator, setup.limit, |record| {
        if matches!(record, Record::Start { .. }) {
            drop(place.take());
        }
        board.hears(index, record);
    });
    // It is as large as all modules together, and written anew each time.
    fs::remove_file(&initramfs)?;
    let report = report?;
    board.ends(index, &report);
    Ok(report)
}

/// Places for machines on the way to their first scenario, which takes nothing but processor time.
struct Booting {
    free: Mutex<usize>,
    left: Condvar,
}

impl Booting {
    fn new(places: usize) -> Self {
        Self { free: Mutex::new(places), left: Condvar::new() }
    }

    /// Waits for a place, which is free again when it is dropped.
    fn place(&self) -> Place<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *self.left.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner) -= 1;
        Place(self)
    }
}

struct Place<'a>(&'a Booting);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.left.notify_one();
    }
}

/// Writes what an image boots into.
pub fn prepare(programs: &Programs, image: &Image, initramfs: &Path) -> Result<()> {
    let mut modules = match &image.modules {
        Some(directory) => modules::closure(directory, &kernels::modules()?)?,
        None => Vec::new(),
    };
    // Debian's kernels do not insist on signatures. Somebody's own may.
    if image.is_of_debian() {
        for (_, content) in &mut modules {
            modules::remove_signature(content);
        }
    }
    initramfs::write(programs, &modules, initramfs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_boots_when_there_is_a_place() {
        let booting = Booting::new(1);
        let first = booting.place();
        thread::scope(|scope| {
            let second = scope.spawn(|| drop(booting.place()));
            thread::sleep(Duration::from_millis(50));
            assert!(!second.is_finished(), "two had one place");
            drop(first);
        });
    }
}
