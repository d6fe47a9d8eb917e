//! Synscope: explains failed TCP connections.
//!
//! One binary: `serve` (the default) is the dashboard and HTTP API, `trace` and `attach` print
//! to the terminal, `doctor` says what this host allows.

mod api;
mod attempt;
mod cli;
mod commands;
mod event;
mod export;
mod filter;
mod history;
mod memory;
mod metrics;
mod otlp;
mod request;
mod terminal;
mod token;
mod trace;

use std::process::ExitCode;

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

fn main() -> ExitCode {
    memory::keep_together();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("synscope: cannot start its threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match cli.command.unwrap_or(Command::Serve(cli.serve)) {
            Command::Serve(args) => commands::serve::run(args).await,
            Command::Trace(args) => commands::trace::run(*args).await,
            Command::Attach(args) => commands::trace::attach(*args).await,
            Command::Doctor(args) => commands::doctor::run(&args),
            Command::Man(args) => commands::manual::page(&args),
            Command::Completions(args) => commands::manual::completions(&args),
        }
    });
    // A thread that still reads symbols must not hold up the exit.
    runtime.shutdown_background();
    done.unwrap_or_else(|failure| {
        eprintln!("synscope: {failure}");
        ExitCode::FAILURE
    })
}
