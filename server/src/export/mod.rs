//! Traces as files, made piece by piece while they are sent: nothing is held of them but the piece at hand.

mod chrome_trace;
mod csv;

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    attempt::Attempt,
    filter::Filter,
    trace::{Expired, ReadError, Trace},
};

/// Events or attempts of one piece.
const PIECE: usize = 500;

/// What a trace can be exported as.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    /// Every event, as readers get it. What import takes.
    #[default]
    Ndjson,
    /// One row an attempt.
    Csv,
    /// What Perfetto opens.
    ChromeTrace,
}

impl Format {
    pub(crate) const ALL: [Self; 3] = [Self::Ndjson, Self::Csv, Self::ChromeTrace];

    /// The media type, and what the file's name ends with.
    pub(crate) fn media_type(self) -> (&'static str, &'static str) {
        match self {
            Self::Ndjson => ("application/x-ndjson", "ndjson"),
            Self::Csv => ("text/csv; charset=utf-8", "csv"),
            Self::ChromeTrace => ("application/json", "trace.json"),
        }
    }

    /// The file. Ends with what was there when it began.
    pub(crate) fn pieces(self, trace: Arc<Trace>) -> BoxStream<'static, Result<String, ReadError>> {
        match self {
            Self::Ndjson => lines(trace).boxed(),
            Self::Csv => {
                let head = stream::once(async { Ok(csv::HEAD.to_owned()) });
                let rows = attempts(trace).map(|attempts| Ok(attempts?.iter().map(csv::row).collect()));
                head.chain(rows).boxed()
            }
            Self::ChromeTrace => {
                let mut events = chrome_trace::Events::default();
                let head = stream::once(async { Ok(chrome_trace::HEAD.to_owned()) });
                let body = attempts(trace)
                    .map(move |attempts| Ok(attempts?.iter().map(|attempt| events.of(attempt)).collect()));
                head.chain(body).chain(stream::once(async { Ok(chrome_trace::TAIL.to_owned()) })).boxed()
            }
        }
    }
}

/// Every event, one a line. Missing ones show in the sequence numbers.
fn lines(trace: Arc<Trace>) -> impl stream::Stream<Item = Result<String, ReadError>> {
    let range = trace.range();
    stream::try_unfold((trace, range.first_seq), move |(trace, from)| async move {
        if from >= range.next_seq {
            return Ok(None);
        }
        let (events, next) = match trace.read(Some(from), PIECE) {
            Ok(batch) => (batch.events, batch.next_after + 1),
            Err(ReadError::Expired(Expired { first_seq })) => (Vec::new(), first_seq),
            Err(error) => return Err(error),
        };
        let wanted = usize::try_from(range.next_seq - from).unwrap_or(usize::MAX);
        let piece: String = events.iter().take(wanted).flat_map(|event| [event, "\n"]).collect();
        Ok(Some((piece, (trace, next.max(from + 1)))))
    })
}

/// Every attempt, the newest first.
fn attempts(trace: Arc<Trace>) -> impl stream::Stream<Item = Result<Vec<Attempt>, ReadError>> {
    stream::try_unfold(Some((trace, None)), |place| async move {
        let Some((trace, before)) = place else { return Ok(None) };
        let (attempts, next) = trace.attempts(&Filter::default(), before, PIECE)?;
        Ok(Some((attempts, next.map(|next| (trace, Some(next))))))
    })
}
