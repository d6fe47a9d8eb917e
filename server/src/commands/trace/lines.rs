//! Events from a file, a pipe or a server: one JSON object a line, as `--json` prints them, as an export has them, and
//! as a server tells them to who follows a trace.

use std::{
    io::{self, BufRead, Read as _},
    process::ExitCode,
    thread,
};

use serde_json::Value;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::view::View;
use crate::Failure;

/// Longest line. Events have some kilobytes; without a bound, a file without an end of line would be read whole.
const MAX_LINE: u64 = 1 << 20;
/// Lines between the thread that reads and the one that prints. When it is full, reading waits.
const QUEUE: usize = 256;

/// Where lines come from.
pub(super) struct Source<R> {
    /// For people.
    pub(super) name: String,
    pub(super) reader: R,
    /// Whether the end is announced, so that another one is a failure.
    pub(super) says_when_it_ends: bool,
}

/// What a line was.
enum Line {
    Shown,
    End,
}

/// Shows them until there are no more, or Ctrl-C.
pub(super) async fn run<R>(source: Source<R>, mut view: View) -> Result<ExitCode, Failure>
where
    R: BufRead + Send + 'static,
{
    let Source { name, reader, says_when_it_ends } = source;
    let signals = signal(SignalKind::interrupt()).and_then(|int| Ok((int, signal(SignalKind::terminate())?)));
    let (mut interrupt, mut terminate) = signals.map_err(|error| {
        Failure::new(format!("cannot listen for signals: {error}"), "see the system's log")
    })?;
    let (lines, mut read) = mpsc::channel(QUEUE);
    // Not one of the runtime's own: nobody could end its wait for a server or a pipe.
    thread::spawn(move || read_all(reader, &lines));
    let mut number = 0_u64;
    while !view.is_done() {
        let line = tokio::select! {
            line = read.recv() => line,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        number += 1;
        let taken = match line {
            None if says_when_it_ends => Err(io::Error::other("it ended before the trace did")),
            None => break,
            Some(line) => line.and_then(|line| take(&mut view, &line, number)),
        };
        // What comes slowly is seen at once.
        let flushed = if read.is_empty() { view.flush() } else { Ok(()) };
        match flushed.and(taken) {
            Ok(Line::Shown) => {}
            Ok(Line::End) => break,
            // Nobody reads any more (`| head`): that is an end like any other.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(view.exit_code()),
            Err(error) => {
                let remedy =
                    "each line is one event, as `synscope trace --json` prints it and an export has it";
                return Err(Failure::new(format!("{name}, line {number}: {error}"), remedy));
            }
        }
    }
    view.finish();
    Ok(view.exit_code())
}

fn read_all(mut reader: impl BufRead, lines: &mpsc::Sender<io::Result<Vec<u8>>>) {
    loop {
        let mut line = Vec::new();
        let read = reader.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line).and_then(|length| {
            let too_long = || io::Error::other(format!("is longer than {MAX_LINE} bytes"));
            if length as u64 > MAX_LINE { Err(too_long()) } else { Ok(length) }
        });
        let last = match read {
            Ok(0) => return,
            Ok(_) => lines.blocking_send(Ok(line)).is_err(),
            Err(error) => {
                let _ = lines.blocking_send(Err(error));
                true
            }
        };
        if last {
            return;
        }
    }
}

fn take(view: &mut View, line: &[u8], number: u64) -> io::Result<Line> {
    if line.trim_ascii().is_empty() {
        return Ok(Line::Shown);
    }
    let mut told: Value = serde_json::from_slice(line)?;
    match told.get("type").and_then(Value::as_str) {
        None => {
            if let Value::Object(members) = &mut told {
                members.entry("seq").or_insert(number.into());
            }
            view.take(&told)?;
        }
        Some("gap") => view.summary.gap += told["count"].as_u64().unwrap_or(0),
        Some("heartbeat") => view.summary.counters = Some(told["counters"].take()),
        Some("end") => return Ok(Line::End),
        // Of a server that has more to say.
        Some(_) => {}
    }
    Ok(Line::Shown)
}
