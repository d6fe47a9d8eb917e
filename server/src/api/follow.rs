//! Following a trace over plain HTTP: one JSON object a line, or server-sent events. The news are those of the
//! WebSocket.

use std::fmt::Write as _;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream::unfold;

use super::problem::Problem;
use crate::trace::{Follower, News, Notice};

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Document,
    Lines,
    EventStream,
}

impl Form {
    /// What the client asked for; a document, if it does not care.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
        let streams = [Self::Lines, Self::EventStream];
        streams.into_iter().find(|form| accepted.contains(form.content_type())).unwrap_or(Self::Document)
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Document => "application/json",
            Self::Lines => "application/x-ndjson",
            Self::EventStream => "text/event-stream",
        }
    }
}

/// The number in `Last-Event-ID`, which a browser's `EventSource` sends when it comes back.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let number = id.to_str().ok().and_then(|id| id.parse().ok());
    number.map(Some).ok_or_else(|| Problem::bad_query("Last-Event-ID: is the number of an event"))
}

/// A body that goes on until the trace has ended, or `limit` events were told.
pub(super) fn respond(follower: Follower, form: Form, limit: Option<usize>) -> Response {
    let news = unfold((follower, limit.unwrap_or(usize::MAX)), move |(mut follower, left)| async move {
        // The reader's own pace: what it does not take stays where it is, and may be overtaken there.
        let news = if left > 0 { follower.next().await? } else { return None };
        let told = if let News::Events(_, events) = &news { events.len().min(left) } else { 0 };
        let text = write(form, news, told);
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), (follower, left - told)))
    });
    ([(header::CONTENT_TYPE, form.content_type())], Body::from_stream(news)).into_response()
}

/// The news as text, of events the first `count`.
fn write(form: Form, news: News, count: usize) -> String {
    let mut text = String::new();
    match news {
        News::Events(first, events) => {
            for (seq, event) in (first..).zip(events.iter().take(count)) {
                // Writing into a string cannot fail.
                let _ = match form {
                    Form::EventStream => write!(text, "id: {seq}\ndata: {event}\n\n"),
                    _ => writeln!(text, "{event}"),
                };
            }
        }
        News::Notice(notice) => {
            let json = notice.to_json();
            let _ = match (form, &notice) {
                (Form::EventStream, Notice::Gap { to, .. }) => {
                    write!(text, "event: gap\nid: {to}\ndata: {json}\n\n")
                }
                (Form::EventStream, Notice::Heartbeat { .. }) => {
                    write!(text, "event: heartbeat\ndata: {json}\n\n")
                }
                (Form::EventStream, Notice::End { .. }) => write!(text, "event: end\ndata: {json}\n\n"),
                _ => writeln!(text, "{json}"),
            };
        }
    }
    text
}
