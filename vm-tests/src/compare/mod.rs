//! What other tools print of twelve failures, beside Synscope: fills the tables of docs/comparison.md.
//!
//! Each tool is started, watches all twelve, is ended, and its output decides its cells ([`told`]). Tools that cannot
//! run here have cells from their documentation, in `documented.toml`.

mod failures;
mod inside;
mod page;
mod told;
mod tools;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::harness::kernel;
use failures::{FAILURES, Made};
use told::Fact;
use tools::{TOOLS, Tool};

pub use inside::take_over;

/// What one tool told of each failure, or why it did not run.
#[derive(Debug, Serialize, Deserialize)]
struct Watched {
    tool: String,
    outcome: Result<BTreeMap<String, Vec<Fact>>, String>,
    /// All that it printed.
    output: String,
}

/// Where everything is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The binary under test.
    pub synscope: &'a Path,
    /// Below it, kernels and what the tools print are kept.
    pub target_dir: &'a Path,
}

/// Compares on this kernel, or on one of kernels.toml in QEMU, and writes the table of docs/comparison.md.
pub fn run(place: Place<'_>, series: Option<&str>) -> Result<()> {
    let (watched, kernel) =
        series.map_or_else(|| here(place.synscope), |series| inside::boot(place, series))?;
    for Watched { tool, outcome, .. } in &watched {
        if let Err(trouble) = outcome {
            eprintln!("{tool}: {trouble}");
        }
    }
    let kept = place.target_dir.join("comparison").join(&kernel);
    fs::create_dir_all(&kept)?;
    for watched in &watched {
        fs::write(kept.join(watched.tool.replace(' ', "-")), &watched.output)?;
    }
    eprintln!("what they printed is in {}", kept.display());
    page::write(&watched, series, &kernel)
}

/// What every tool tells on this kernel, and the kernel's release.
fn here(synscope: &Path) -> Result<(Vec<Watched>, String)> {
    ensure!(rustix::process::geteuid().is_root(), "tracing needs root");
    let watched = TOOLS.iter().map(|tool| {
        eprintln!("{}", tool.name);
        watch(tool, synscope, 1.0)
    });
    Ok((watched.collect(), kernel::release()))
}

/// Has one tool watch every failure. Machines that are emulated need more `patience`.
fn watch(tool: &Tool, synscope: &Path, patience: f64) -> Watched {
    let mut output = String::new();
    let outcome = observe(tool, synscope, patience, &mut output).map_err(|error| format!("{error:#}"));
    Watched { tool: tool.name.to_owned(), outcome, output }
}

fn observe(
    tool: &Tool,
    synscope: &Path,
    patience: f64,
    output: &mut String,
) -> Result<BTreeMap<String, Vec<Fact>>> {
    // What comes before a failure, such as the old connection of a port that is used again, is not watched.
    let attempts = thread::scope(|scope| {
        let prepared: Vec<_> = FAILURES.iter().map(|failure| scope.spawn(failure.prepare)).collect();
        let attempts =
            prepared.into_iter().map(|thread| thread.join().ok().context("a failure's thread panicked")?);
        attempts.collect::<Result<Vec<_>>>()
    })?;
    let running = tools::Running::start(tool, synscope, patience)?;
    let made = thread::scope(|scope| {
        let made: Vec<_> = attempts.into_iter().map(|attempt| scope.spawn(attempt)).collect();
        let made =
            made.into_iter().map(|thread| thread.join().ok().context("an attempt's thread panicked")?);
        made.collect::<Result<Vec<Made>>>()
    });
    *output = running.end(patience)?;
    let told = FAILURES.iter().zip(made?);
    Ok(told
        .map(|(failure, made)| (failure.name.to_owned(), told::facts(output, tool, failure, &made)))
        .collect())
}
