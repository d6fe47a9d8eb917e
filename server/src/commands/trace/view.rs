//! What is told, filtered and printed, whether it comes from the kernel, a file or a server.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    process::ExitCode,
};

use serde::Deserialize as _;
use serde_json::Value;

use super::{columns::Table, summary::Summary};
use crate::{
    Failure,
    attempt::{Attempt, Head},
    cli::ViewArgs,
    event::UnixNano,
    filter::Filter,
    terminal::has_colours,
};

/// Attempts whose end has not been told, with `--attempts`: as many as the kernel's map holds. When there are more,
/// those that began first are forgotten, and counted as `unfinished`.
const MAX_PENDING: usize = 16_384;

/// The exit code when an attempt failed as `--fail-on` names it.
const FOUND: u8 = 3;

/// Prints events, or attempts that have ended, and remembers what the summary needs.
pub(super) struct View {
    json: bool,
    /// What the source could not check.
    filter: Filter,
    table: Table,
    heading_printed: bool,
    output: Box<dyn Write + Send>,
    /// Lines that may still be printed.
    left: u64,
    /// With `--attempts`: those that have not ended, by the number of their first event, and where each is.
    attempts: Option<Pending>,
    fail_on: Vec<String>,
    /// Whether one of those was among what was shown.
    has_failed: bool,
    pub(super) summary: Summary,
}

#[derive(Default)]
struct Pending {
    by_first_seq: BTreeMap<u64, Attempt>,
    first_seqs: BTreeMap<u64, u64>,
    forgotten: u64,
}

impl View {
    /// What stands aside of a traced command's own output goes to standard error.
    pub(super) fn new(
        args: &ViewArgs,
        filter: Filter,
        left: Option<u64>,
        aside: bool,
    ) -> Result<Self, Failure> {
        let (output, colours): (Box<dyn Write + Send>, _) = match &args.output {
            Some(path) => {
                let file = File::create(path).map_err(|error| {
                    let problem = format!("--output {}: {error}", path.display());
                    Failure::new(problem, "name a file that this user may write to")
                })?;
                (Box::new(BufWriter::new(file)), false)
            }
            None if aside => buffered(io::stderr()),
            None => buffered(io::stdout()),
        };
        Ok(Self {
            json: args.json,
            filter,
            table: Table::new(&args.columns, colours),
            heading_printed: false,
            output,
            left: left.unwrap_or(u64::MAX),
            attempts: args.attempts.then(Pending::default),
            fail_on: args.fail_on.clone(),
            has_failed: false,
            summary: Summary::default(),
        })
    }

    /// Whether as much was printed as was asked for.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Takes one event. Its errors are those of its form, or of the output.
    pub(super) fn take(&mut self, event: &Value) -> io::Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let seq = event.get("seq").and_then(Value::as_u64).unwrap_or(0);
        let head = Head::deserialize(event)?;
        let Some(pending) = &mut self.attempts else {
            // An event is held against the filter as an attempt that has come so far.
            let id = head.attempt.unwrap_or(0);
            let attempt = || Attempt::begin(id, seq, head, event.to_string().into());
            return if self.is_meant(attempt) { self.show(event, event) } else { Ok(()) };
        };
        match pending.fold(seq, head, event) {
            Some(attempt) if self.is_meant(|| attempt.clone()) => {
                let shown: Value = serde_json::from_str(&attempt.to_json())?;
                self.show(&shown, event)
            }
            _ => Ok(()),
        }
    }

    fn is_meant(&mut self, attempt: impl FnOnce() -> Attempt) -> bool {
        let is_meant =
            self.filter.terms.is_empty() || self.filter.matches(&attempt().to_facts(), UnixNano::now());
        self.summary.hidden += u64::from(!is_meant);
        is_meant
    }

    fn show(&mut self, shown: &Value, event: &Value) -> io::Result<()> {
        self.left -= 1;
        self.summary.shown += 1;
        if let Some(cause) = self.summary.count(event) {
            self.has_failed |= self.fail_on.iter().any(|meant| meant == cause || meant == "any");
        }
        if self.json {
            return writeln!(self.output, "{shown}");
        }
        if !std::mem::replace(&mut self.heading_printed, true) {
            writeln!(self.output, "{}", self.table.heading())?;
        }
        writeln!(self.output, "{}", self.table.line(shown))
    }

    /// Fine, unless `--fail-on` has found what it names.
    pub(super) fn exit_code(&self) -> ExitCode {
        if self.has_failed { ExitCode::from(FOUND) } else { ExitCode::SUCCESS }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    /// Prints the summary; for programs, losses alone.
    pub(super) fn finish(&mut self) {
        if self.json {
            eprint!("{}", self.summary.losses());
        } else {
            eprint!("{}", self.summary.text());
        }
        if let Some(Pending { by_first_seq, forgotten, .. }) = &self.attempts {
            let unfinished = by_first_seq.len() as u64 + forgotten;
            if unfinished > 0 {
                eprintln!("\n{unfinished} attempts had not ended");
            }
        }
    }
}

fn buffered(stream: impl Write + IsTerminal + Send + 'static) -> (Box<dyn Write + Send>, bool) {
    let colours = has_colours(&stream);
    (Box::new(BufWriter::new(stream)), colours)
}

impl Pending {
    /// Takes an event of an attempt in; returns the attempt when that was its last.
    fn fold(&mut self, seq: u64, head: Head, event: &Value) -> Option<Attempt> {
        let id = head.attempt?;
        let text = event.to_string().into();
        let first_seq = *self.first_seqs.entry(id).or_insert(seq);
        let attempt = match self.by_first_seq.remove(&first_seq) {
            None => Attempt::begin(id, seq, head, text),
            Some(mut attempt) => {
                attempt.take(seq, head, text);
                attempt
            }
        };
        if !attempt.is_pending() {
            self.first_seqs.remove(&id);
            return Some(attempt);
        }
        self.by_first_seq.insert(first_seq, attempt);
        if self.by_first_seq.len() > MAX_PENDING
            && let Some((_, oldest)) = self.by_first_seq.pop_first()
        {
            self.first_seqs.remove(&oldest.id);
            self.forgotten += 1;
        }
        None
    }
}
