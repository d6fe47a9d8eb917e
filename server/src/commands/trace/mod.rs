//! `synscope trace`: attempts on the terminal, without a server, and `synscope attach`: those of a server.

mod attach;
mod columns;
mod command;
mod lines;
mod live;
mod summary;
mod view;

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
    process::ExitCode,
};

use crate::{
    Failure,
    cli::TraceArgs,
    filter::{Filter, FilterError},
    request::FieldError,
};
use lines::Source;
use view::View;

pub(crate) use attach::run as attach;
pub(crate) use columns::{Column, USUAL};

/// Prints what this host's kernel tells, or what a file holds; then a summary.
pub(crate) async fn run(args: TraceArgs) -> Result<ExitCode, Failure> {
    let filter = filter(&args.view.terms.join(" "));
    let Some(path) = &args.replay else { return live::run(&args, filter).await };
    let view = View::new(&args.view, filter, args.max_events, false)?;
    let source = Source { name: path.display().to_string(), reader: open(path)?, says_when_it_ends: false };
    lines::run(source, view).await
}

/// A file, or standard input as `-`.
fn open(path: &Path) -> Result<BufReader<Box<dyn Read + Send>>, Failure> {
    let stream: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(|error| {
            Failure::new(format!("{}: {error}", path.display()), "name a file that this user may read, or -")
        })?)
    };
    Ok(BufReader::new(stream))
}

/// Wrong values of flags end like wrong flags do.
fn usage(error: &FieldError) -> Failure {
    eprintln!("synscope: {error}\n  remedy: see `synscope trace --help`");
    std::process::exit(2);
}

/// Reads the terms; points at what cannot be read.
fn filter(terms: &str) -> Filter {
    terms.parse().unwrap_or_else(|FilterError { span, problem, remedy }| {
        let indent = " ".repeat(terms[..span.start].chars().count());
        let marks = "^".repeat(terms[span.start..span.end].chars().count().max(1));
        eprintln!("synscope: {problem}\n  {terms}\n  {indent}{marks}\n  remedy: {remedy}");
        std::process::exit(2);
    })
}
