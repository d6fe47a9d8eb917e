//! Synscope: explains failed TCP connections.
//!
//! One binary: `serve` (the default) is the dashboard and HTTP API, `trace` and `attach` print
//! to the terminal, `doctor` says what this host allows. A library only for those who test it.

mod api;
mod attempt;
mod cli;
mod commands;
mod event;
mod export;
mod filter;
#[cfg(fuzzing)]
pub mod fuzzing;
mod history;
mod listen;
mod memory;
mod metrics;
mod otlp;
mod privileges;
mod rate;
mod request;
mod terminal;
mod token;
mod trace;

use std::{path::Path, process::ExitCode};

use clap::Parser as _;

use cli::{Cli, Command};

/// Everything a command may fail with is already words for people; what is left is to print them.
#[derive(Debug, thiserror::Error)]
#[error("{problem}\n  remedy: {remedy}")]
struct Failure {
    problem: String,
    remedy: String,
}

impl Failure {
    fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }
}

impl From<synscope_tracer::Error> for Failure {
    fn from(error: synscope_tracer::Error) -> Self {
        Self::new(error.to_string(), error.remedy())
    }
}

/// Does what the command line asks for.
pub fn main() -> ExitCode {
    memory::keep_together();
    let cli = Cli::parse();
    let done = match cli.command.unwrap_or(Command::Serve(Box::new(cli.serve))) {
        Command::Serve(args) => commands::serve::prepare(*args).and_then(|ready| {
            let data_dir = ready.data_dir().to_owned();
            reduced(Some(&data_dir), ready.run())
        }),
        // It may be asked to start a command.
        Command::Trace(args) => running(commands::trace::run(*args)),
        Command::Attach(args) => running(commands::trace::attach(*args)),
        Command::Doctor(args) => reduced(None, async { commands::doctor::run(&args) }),
        Command::Man(args) => commands::manual::page(&args),
        Command::Completions(args) => commands::manual::completions(&args),
    };
    done.unwrap_or_else(|failure| {
        eprintln!("synscope: {failure}");
        ExitCode::FAILURE
    })
}

/// Does the work with no more privileges than tracing needs.
fn reduced(
    data_dir: Option<&Path>,
    work: impl Future<Output = Result<ExitCode, Failure>>,
) -> Result<ExitCode, Failure> {
    // Before there are threads: each would have to give up its own. Mounting is among what is given up.
    synscope_tracer::host::mount_tracefs();
    for kept in privileges::reduce(data_dir) {
        tracing::warn!("could not be given up: {kept}");
    }
    running(work)
}

fn running(work: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::new(
            format!("cannot start its threads: {error}"),
            "the system is short of threads: see its log",
        )
    })?;
    runtime.spawn(memory::give_back_regularly());
    let done = runtime.block_on(work);
    // A thread that still reads symbols must not hold up the exit.
    runtime.shutdown_background();
    done
}
