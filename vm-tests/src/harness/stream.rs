//! The WebSocket client of the scenarios.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Error, Message};

use super::{Api, Json};

/// An open WebSocket, read by waiting for one frame at a time.
pub struct Stream {
    runtime: Runtime,
    socket: WebSocketStream<TcpStream>,
    protocol: Option<String>,
}

/// What the server sent.
#[derive(Debug)]
pub enum Frame {
    /// One message of the reference's table.
    Message(Json),
    /// The close code.
    Closed(u16),
}

impl Stream {
    /// Opens `path` with the token in `Authorization`.
    pub fn open(api: &Api, path: &str) -> Result<Self> {
        Self::open_with(api, path, |request| {
            request.with_header("Authorization", format!("Bearer {}", api.token()))
        })?
        .map_err(|status| anyhow::anyhow!("the WebSocket was refused with {status}"))
    }

    /// Opens `path` as `change` completes the request; a refusal gives its HTTP status.
    pub fn open_with(
        api: &Api,
        path: &str,
        change: impl FnOnce(ClientRequestBuilder) -> ClientRequestBuilder,
    ) -> Result<Result<Self, u16>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let uri = format!("ws://{}{path}", api.authority()).parse()?;
        let request = change(ClientRequestBuilder::new(uri));
        let opened = runtime.block_on(async {
            let tcp = TcpStream::connect(api.authority()).await.context("connecting")?;
            anyhow::Ok(tokio_tungstenite::client_async(request, tcp).await)
        })?;
        match opened {
            Ok((socket, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                let protocol = protocol.and_then(|value| value.to_str().ok()).map(str::to_owned);
                Ok(Ok(Self { runtime, socket, protocol }))
            }
            Err(Error::Http(response)) => Ok(Err(response.status().as_u16())),
            Err(error) => bail!("opening the WebSocket: {error}"),
        }
    }

    /// The subprotocol that the server selected.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// The next message or the end, pings left out; `None` when nothing comes in time.
    fn receive(&mut self, deadline: Instant) -> Result<Option<Message>> {
        let socket = &mut self.socket;
        let waited = self.runtime.block_on(async {
            tokio::time::timeout_at(deadline.into(), async {
                loop {
                    match socket.next().await {
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        other => return other,
                    }
                }
            })
            .await
        });
        match waited {
            Ok(Some(Ok(message))) => Ok(Some(message)),
            Ok(Some(Err(error))) => bail!("the WebSocket broke: {error}"),
            Ok(None) => bail!("the WebSocket ended without a close frame"),
            Err(_) => Ok(None),
        }
    }

    /// The next message as it was sent, for those who count more than a parser can take; `None` at the deadline.
    pub fn next_text(&mut self, deadline: Instant) -> Result<Option<String>> {
        match self.receive(deadline)? {
            Some(Message::Text(text)) => Ok(Some(text.as_str().to_owned())),
            None => Ok(None),
            Some(other) => bail!("expected a text message, got {other:?}"),
        }
    }

    /// The next frame, or `None` at the deadline.
    pub fn next(&mut self, deadline: Instant) -> Result<Option<Frame>> {
        match self.receive(deadline)? {
            Some(Message::Text(text)) => {
                let value: Value = serde_json::from_str(&text)
                    .with_context(|| format!("a frame that is not JSON: {text:?}"))?;
                Ok(Some(Frame::Message(Json(value))))
            }
            Some(Message::Close(frame)) => {
                let frame = frame.context("closed without a code")?;
                Ok(Some(Frame::Closed(frame.code.into())))
            }
            Some(other) => bail!("unexpected frame {other:?}"),
            None => Ok(None),
        }
    }

    /// The next frame that is no heartbeat.
    pub fn next_news(&mut self, deadline: Instant) -> Result<Option<Frame>> {
        loop {
            match self.next(deadline)? {
                Some(Frame::Message(message)) if message.at("/type") == "heartbeat" => {}
                other => return Ok(other),
            }
        }
    }

    /// Requires the next frame that is no heartbeat to be a message of this type.
    pub fn expect(&mut self, kind: &str, deadline: Instant) -> Result<Json> {
        match self.next_news(deadline)? {
            Some(Frame::Message(message)) => {
                message.is("/type", kind)?;
                Ok(message)
            }
            other => bail!("expected {kind}, got {other:?}"),
        }
    }

    /// Reads on to the close frame, whatever comes before it, and returns the messages and the code.
    pub fn to_close(&mut self, deadline: Instant) -> Result<(Vec<Json>, u16)> {
        let mut messages = Vec::new();
        loop {
            match self.next(deadline)? {
                Some(Frame::Message(message)) => messages.push(message),
                Some(Frame::Closed(code)) => return Ok((messages, code)),
                None => bail!("not closed in time, after {messages:?}"),
            }
        }
    }

    /// Sends a text message.
    pub fn send(&mut self, text: String) -> Result<()> {
        ensure!(!text.is_empty(), "an empty message says nothing");
        let socket = &mut self.socket;
        self.runtime.block_on(socket.send(Message::text(text))).context("sending")
    }
}
