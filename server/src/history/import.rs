//! Traces from files: the events of an export, line by line. They are kept as they stand, so that exporting them
//! again gives the same bytes.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use tokio::sync::oneshot;

use super::{History, Line, Message, schema::MAX_SEQ};
use crate::{
    attempt::Head,
    trace::{Attempts, Trace},
};

/// The longest line that is taken, in bytes.
pub(crate) const MAX_LINE: usize = 1 << 20;
/// Lines, and bytes of them, that are handed to the writer at once.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 4 << 20;
/// How long the writer is left to catch up before it is asked again.
const WAIT: Duration = Duration::from_millis(5);

/// A line that is not an event of a trace.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub(crate) struct BadLine {
    pub(crate) line: u64,
    pub(crate) problem: String,
}

/// Why a file did not become a trace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error(transparent)]
    Line(#[from] BadLine),
    #[error("it could not be written: {0}")]
    NotKept(String),
}

/// A trace that is being read from a file.
pub(crate) struct Import {
    history: Arc<History>,
    trace: Arc<Trace>,
    attempts: Attempts,
    rest: Vec<u8>,
    lines: u64,
    events: Vec<Line>,
    bytes: usize,
    /// Where attempts began that events were read of.
    touched: Vec<u64>,
    last_seq: u64,
    is_whole: bool,
}

impl Import {
    /// Begins a trace; it shows up when it has been read to its end. None when nothing is kept.
    pub(crate) fn begin(history: &Arc<History>, id: String, name: Option<String>) -> Option<Self> {
        let trace = Trace::importing(id, name, history.record()?);
        history.follow(&trace);
        Some(Self {
            history: Arc::clone(history),
            trace,
            attempts: Attempts::default(),
            rest: Vec::new(),
            lines: 0,
            events: Vec::new(),
            bytes: 0,
            touched: Vec::new(),
            last_seq: 0,
            is_whole: false,
        })
    }

    /// Takes the next bytes of the file.
    pub(crate) async fn take(&mut self, mut bytes: &[u8]) -> Result<(), BadLine> {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.rest.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.rest);
            self.line(&line)?;
            if self.events.len() >= BATCH || self.bytes >= BATCH_BYTES {
                self.hand_over().await;
            }
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > MAX_LINE {
            self.lines += 1;
            return Err(self.bad(format!("is longer than {MAX_LINE} bytes")));
        }
        Ok(())
    }

    fn bad(&self, problem: impl Into<String>) -> BadLine {
        BadLine { line: self.lines, problem: problem.into() }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), BadLine> {
        self.lines += 1;
        if line.len() > MAX_LINE {
            return Err(self.bad(format!("is longer than {MAX_LINE} bytes")));
        }
        let text = str::from_utf8(line).map_err(|_| self.bad("is not UTF-8"))?;
        let event: Value =
            serde_json::from_str(text).map_err(|error| self.bad(format!("is not JSON: {error}")))?;
        let seq = event.get("seq").and_then(Value::as_u64);
        let seq = seq.filter(|seq| (1..=MAX_SEQ).contains(seq));
        let seq = seq.ok_or_else(|| self.bad("seq: is not a sequence number"))?;
        if seq <= self.last_seq {
            return Err(self.bad(format!("seq: {seq} does not come after {}", self.last_seq)));
        }
        let head: Head = serde_path_to_error::deserialize(&event)
            .map_err(|error| self.bad(format!("{}: {}", error.path(), error.inner())))?;
        self.last_seq = seq;
        let json: Arc<str> = text.into();
        self.bytes += json.len();
        self.events.push(Line { seq, time: head.time_unix_nano.0, json: Arc::clone(&json) });
        let first_seq = self.attempts.fold(seq, head, json);
        self.touched.extend(first_seq);
        Ok(())
    }

    /// Unlike a running trace, an import can wait for the writer.
    async fn hand_over(&mut self) {
        let Some(record) = self.trace.record() else { return };
        while record.is_busy() {
            tokio::time::sleep(WAIT).await;
        }
        let attempts = self.attempts.these(std::mem::take(&mut self.touched));
        record.keep(std::mem::take(&mut self.events), attempts);
        self.attempts.trim();
        self.bytes = 0;
    }

    /// The end of the file: the trace is there from now on. An error when it could not be kept whole.
    pub(crate) async fn finish(mut self) -> Result<Arc<Trace>, ImportError> {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.line(&rest)?;
        }
        if self.last_seq == 0 {
            return Err(BadLine { line: 1, problem: "there is no event".into() }.into());
        }
        self.hand_over().await;
        self.trace.imported(self.lines, self.last_seq + 1);
        self.history.flush().await;
        self.is_whole = self.trace.record().is_some_and(|record| record.lost() == 0);
        if self.is_whole {
            Ok(Arc::clone(&self.trace))
        } else {
            Err(ImportError::NotKept(self.history.status().detail))
        }
    }
}

/// Whatever ends an import early, its client included, what was read is forgotten.
impl Drop for Import {
    fn drop(&mut self) {
        if let Some(record) = self.trace.record().filter(|_| !self.is_whole) {
            self.history.send(Message::Delete(record.key, oneshot::channel().0));
        }
    }
}
