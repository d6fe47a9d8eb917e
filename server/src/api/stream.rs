//! The WebSocket: each reader follows the live ring with its own cursor. A slow one falls behind the ring and
//! is told what it missed; nobody else notices.

use std::{sync::Arc, time::Duration};

use aide::axum::{ApiRouter, routing::get_with};
use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code, rejection::WebSocketUpgradeRejection},
    },
    response::{IntoResponse as _, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, interval_at, timeout};

use super::{
    App,
    extract::{Named, Params},
    problem::Problem,
};
use crate::{
    event::UnixNano,
    trace::{CountersJson, EndReason, Expired, ReadError, Trace},
};

pub(super) fn router() -> ApiRouter<Arc<App>> {
    ApiRouter::new().api_route(
        "/traces/{id}/stream",
        get_with(stream, |call| call.id("stream").summary("WebSocket; docs/asyncapi.yaml has its messages")),
    )
}

/// Events of one message, at most.
const MAX_BATCH: usize = 256;
/// Events are gathered for this long before they are sent, so that a storm does not cost a message each.
const GATHER: Duration = Duration::from_millis(1);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Counters that have changed are told after this time already.
const CHANGED_HEARTBEAT: Duration = Duration::from_secs(1);
/// A client that takes nothing for so long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// When the server shuts down, a client has so long to take what is on its way.
const LAST_SEND: Duration = Duration::from_secs(2);
/// A client has nothing to say.
const MAX_CLIENT_MESSAGE: usize = 4 << 10;
/// What one reader may leave untaken before sending waits for it.
const WRITE_BUFFER: usize = 256 << 10;

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
        .max_write_buffer_size(WRITE_BUFFER + (1 << 20));
    Ok(upgrade
        .on_upgrade(move |socket| {
            let streams = app.streams.clone();
            streams.track_future(async move {
                Reader { app, trace, socket, cursor: after, told: None }.run().await;
            })
        })
        .into_response())
}

/// What the server sends, besides events, which are JSON already.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Control<'a> {
    Hello { epoch: &'a str, trace: &'a str, first_seq: u64, next_seq: u64 },
    Gap { from: u64, to: u64, count: u64, stage: &'static str },
    Heartbeat { time_unix_nano: UnixNano, counters: CountersJson },
    End { reason: EndReason },
}

struct Reader {
    app: Arc<App>,
    trace: Arc<Trace>,
    socket: WebSocket,
    /// The last sequence number that was sent or told as missing.
    cursor: u64,
    /// The counters that were told last, and when.
    told: Option<(CountersJson, Instant)>,
}

/// The reader is gone or was closed; there is nothing left to do for it.
struct Gone;

impl Reader {
    async fn run(mut self) {
        // Whatever ends it, the client's own close included, ends quietly.
        let _ = self.follow().await;
    }

    async fn follow(&mut self) -> Result<(), Gone> {
        let range = self.trace.range();
        let (epoch, trace) = (self.app.epoch.clone(), self.trace.id.clone());
        let hello = Control::Hello {
            epoch: &epoch,
            trace: &trace,
            first_seq: range.first_seq,
            next_seq: range.next_seq,
        };
        self.control(&hello).await?;
        self.cursor = match self.cursor {
            0 => range.first_seq - 1,
            after => after.min(range.next_seq - 1),
        };
        let mut progress = self.trace.watch();
        let mut heartbeat = interval_at(Instant::now(), CHANGED_HEARTBEAT);
        loop {
            let seen = *progress.borrow_and_update();
            self.catch_up(seen.next_seq).await?;
            if let Some(reason) = seen.ended {
                return self.finish(reason).await;
            }
            tokio::select! {
                changed = progress.changed() => changed.map_err(|_| Gone)?,
                _ = heartbeat.tick() => self.heartbeat().await?,
                message = self.socket.recv() => self.heard(message).await?,
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Sends everything before `next_seq`.
    async fn catch_up(&mut self, next_seq: u64) -> Result<(), Gone> {
        while self.cursor + 1 < next_seq {
            let behind = next_seq - 1 - self.cursor;
            if behind > MAX_BATCH as u64 && self.app.shutdown.is_cancelled() {
                let from = self.cursor + 1;
                self.cursor = next_seq - 1;
                return self.gap(from, "shutdown").await;
            }
            match self.trace.read(Some(self.cursor + 1), MAX_BATCH) {
                Ok(batch) => {
                    self.cursor = batch.next_after;
                    let events = batch.events.join(",");
                    self.text(format!(r#"{{"type":"events","events":[{events}]}}"#)).await?;
                }
                Err(ReadError::Expired(Expired { first_seq })) => {
                    let from = self.cursor + 1;
                    self.cursor = first_seq - 1;
                    self.gap(from, "ring").await?;
                }
                Err(ReadError::History(error)) => {
                    tracing::error!(trace = self.trace.id, "a reader is told of a gap: {error}");
                    let from = self.cursor + 1;
                    self.cursor = next_seq - 1;
                    self.gap(from, "history").await?;
                }
            }
        }
        Ok(())
    }

    /// Tells that the events from `from` up to the cursor will not come.
    async fn gap(&mut self, from: u64, stage: &'static str) -> Result<(), Gone> {
        let to = self.cursor;
        self.control(&Control::Gap { from, to, count: to + 1 - from, stage }).await
    }

    /// Tells the counters when they have changed, or when it was quiet for long enough.
    async fn heartbeat(&mut self) -> Result<(), Gone> {
        let counters = self.trace.counters();
        let quiet =
            self.told.as_ref().is_some_and(|(told, when)| *told == counters && when.elapsed() < HEARTBEAT);
        if quiet {
            return Ok(());
        }
        self.tell_counters(counters).await
    }

    async fn tell_counters(&mut self, counters: CountersJson) -> Result<(), Gone> {
        self.told = Some((counters.clone(), Instant::now()));
        self.control(&Control::Heartbeat { time_unix_nano: UnixNano::now(), counters }).await
    }

    /// Clients may ping and close; everything else they say is ignored.
    async fn heard(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), Gone> {
        match message {
            Some(Ok(Message::Close(_))) | None => Err(Gone),
            Some(Err(_)) => self.close(close_code::SIZE, "messages are limited to 4 KiB").await,
            Some(Ok(_)) => Ok(()),
        }
    }

    async fn finish(&mut self, reason: EndReason) -> Result<(), Gone> {
        self.tell_counters(self.trace.counters()).await?;
        self.control(&Control::End { reason }).await?;
        // A trace that an earlier run's shutdown ended is not of this one.
        if self.app.shutdown.is_cancelled() {
            self.close(close_code::AWAY, "the server is shutting down").await
        } else {
            self.close(close_code::NORMAL, "the trace ended").await
        }
    }

    async fn close(&mut self, code: u16, reason: &'static str) -> Result<(), Gone> {
        let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        let _ = timeout(Duration::from_secs(1), self.socket.send(close)).await;
        // Wait for the client's own close, so that ours is not lost with the connection.
        while let Ok(Some(Ok(_))) = timeout(Duration::from_secs(1), self.socket.recv()).await {}
        Err(Gone)
    }

    async fn control(&mut self, control: &Control<'_>) -> Result<(), Gone> {
        self.text(serde_json::to_string(control).map_err(|_| Gone)?).await
    }

    async fn text(&mut self, text: String) -> Result<(), Gone> {
        let shutdown = self.app.shutdown.clone();
        let patience = async {
            tokio::select! {
                () = tokio::time::sleep(SEND_TIMEOUT) => {}
                () = async { shutdown.cancelled().await; tokio::time::sleep(LAST_SEND).await } => {}
            }
        };
        tokio::select! {
            sent = self.socket.send(Message::Text(text.into())) => sent.map_err(|_| Gone),
            () = patience => Err(Gone),
        }
    }
}
