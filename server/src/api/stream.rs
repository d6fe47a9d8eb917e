//! The WebSocket: a reader that falls behind costs nobody else anything. What it does not take is queued up to a
//! limit; then it is closed, and may come back with the last number it has seen.

mod outbox;

use std::{sync::Arc, time::Duration};

use aide::axum::{ApiRouter, routing::get_with};
use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, WebSocket, close_code, rejection::WebSocketUpgradeRejection},
    },
    response::{IntoResponse as _, Response},
};
use futures_util::{StreamExt as _, stream::SplitStream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    App,
    extract::{Named, Params},
    problem::Problem,
};
use crate::trace::{Follower, News, Trace};
use outbox::{Full, Outbox};

pub(super) fn router() -> ApiRouter<Arc<App>> {
    ApiRouter::new().api_route(
        "/traces/{id}/stream",
        get_with(stream, |call| call.id("stream").summary("WebSocket; docs/asyncapi.yaml has its messages")),
    )
}

/// A client that has said nothing for so long, not even a pong, is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// A client that is to be closed has so long to take what was queued for it.
const FAREWELL: Duration = Duration::from_secs(30);
/// The same when the server shuts down.
const LAST_FAREWELL: Duration = Duration::from_secs(2);
/// A client has nothing to say.
const MAX_CLIENT_MESSAGE: usize = 4 << 10;

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(deny_unknown_fields)]
struct StreamQuery {
    /// The last sequence number that is known; 0 for none.
    #[serde(default)]
    after: u64,
}

async fn stream(
    State(app): State<Arc<App>>,
    Named(trace): Named,
    Params(StreamQuery { after }): Params<StreamQuery>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade
        .map_err(|error| Problem::not_a_websocket(error.status(), &error.body_text()))?
        .protocols(["synscope.v1"])
        .max_message_size(MAX_CLIENT_MESSAGE)
        .max_frame_size(MAX_CLIENT_MESSAGE)
        // Cleared before each look for what a client says; by default there are 128 KiB of it.
        .read_buffer_size(MAX_CLIENT_MESSAGE);
    Ok(upgrade
        .on_upgrade(move |socket| {
            let streams = app.streams.clone();
            streams.track_future(serve(app, trace, socket, after))
        })
        .into_response())
}

/// The first message. The others are [`Notice`]s, and events, which are JSON already.
#[derive(Serialize)]
#[serde(tag = "type", rename = "hello")]
struct Hello<'a> {
    epoch: &'a str,
    trace: &'a str,
    first_seq: u64,
    next_seq: u64,
}

/// Why the server closes.
type Farewell = (u16, &'static str);

/// Nobody is there to be told.
struct Gone;

async fn serve(app: Arc<App>, trace: Arc<Trace>, socket: WebSocket, after: u64) {
    let (sink, mut client) = socket.split();
    let (outbox, queued) = outbox::new();
    let over = CancellationToken::new();
    let serving = async {
        let farewell = tokio::select! {
            farewell = tell(&app, trace, &outbox, after) => farewell,
            farewell = hear(&mut client) => farewell,
        };
        if let Ok((code, reason)) = farewell {
            outbox.close(CloseFrame { code, reason: reason.into() });
            let patience = if app.shutdown.is_cancelled() { LAST_FAREWELL } else { FAREWELL };
            // Until the client's own close, so that ours is not lost with the connection. One whose message was too
            // large cannot be heard any more.
            let leave = async {
                while let Some(Ok(_)) = client.next().await {}
                outbox.is_written().await;
            };
            let _ = timeout(patience, leave).await;
        }
        over.cancel();
    };
    let writing = async {
        tokio::select! {
            () = queued.write_to(sink) => {}
            () = over.cancelled() => {}
        }
    };
    tokio::join!(serving, writing);
}

/// Tells the trace's news until it ends or the client does not take them.
async fn tell(app: &App, trace: Arc<Trace>, outbox: &Outbox, after: u64) -> Result<Farewell, Gone> {
    let range = trace.range();
    let (epoch, id) = (app.epoch.as_str(), trace.id.as_str());
    let hello = Hello { epoch, trace: id, first_seq: range.first_seq, next_seq: range.next_seq };
    outbox.push(serde_json::to_string(&hello).map_err(|_| Gone)?).await.map_err(|_| Gone)?;
    let mut follower = Follower::new(trace, after, app.shutdown.clone());
    while let Some(news) = follower.next().await {
        let text = match news {
            News::Events(_, events) => message_of(&events),
            News::Notice(notice) => notice.to_json(),
        };
        let pushed = tokio::select! {
            pushed = outbox.push(text) => pushed,
            () = async { app.shutdown.cancelled().await; sleep(LAST_FAREWELL).await } => return Err(Gone),
        };
        if let Err(Full) = pushed {
            return Ok((close_code::AGAIN, "too slow: come back with the last number seen"));
        }
    }
    // A trace that an earlier run's shutdown ended is not of this one.
    if app.shutdown.is_cancelled() {
        return Ok((close_code::AWAY, "the server is shutting down"));
    }
    Ok((close_code::NORMAL, "the trace ended"))
}

/// Put together in one piece: joining would copy all of it once more.
fn message_of(events: &[Arc<str>]) -> String {
    const HEAD: &str = r#"{"type":"events","events":["#;
    const TAIL: &str = "]}";
    let bytes: usize = events.iter().map(|event| event.len() + 1).sum();
    let mut text = String::with_capacity(HEAD.len() + bytes + TAIL.len());
    text.push_str(HEAD);
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(event);
    }
    text.push_str(TAIL);
    text
}

/// Listens for the client's close, for too large a message, and for silence. All else it says is ignored.
async fn hear(client: &mut SplitStream<WebSocket>) -> Result<Farewell, Gone> {
    loop {
        match timeout(SILENCE, client.next()).await {
            Ok(None) | Err(_) => return Err(Gone),
            Ok(Some(Err(_))) => return Ok((close_code::SIZE, "messages are limited to 4 KiB")),
            // Its close is answered by reading on.
            Ok(Some(Ok(_))) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::message_of;

    #[test]
    fn a_message_has_its_events_as_they_are() {
        let message =
            |events: &[&str]| message_of(&events.iter().map(|&event| event.into()).collect::<Vec<_>>());
        assert_eq!(message(&["{}"]), r#"{"type":"events","events":[{}]}"#);
        assert_eq!(
            message(&[r#"{"seq":1}"#, r#"{"seq":2}"#]),
            r#"{"type":"events","events":[{"seq":1},{"seq":2}]}"#
        );
    }
}
