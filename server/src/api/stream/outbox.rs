//! What waits to be taken by one client of a WebSocket.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{SinkExt as _, stream::SplitSink};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{interval, timeout},
};

/// Bytes queued for one client.
const MAX_QUEUED: u32 = 1 << 20;
/// A client that leaves the queue full for so long is too slow.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the client is asked whether it is there.
const PING: Duration = Duration::from_secs(10);

/// The end that messages are put into. What is queued goes out also after it was dropped.
pub(super) struct Outbox {
    room: Arc<Semaphore>,
    queue: mpsc::UnboundedSender<(Message, OwnedSemaphorePermit)>,
}

/// The end that messages are sent from.
pub(super) struct Queued(mpsc::UnboundedReceiver<(Message, OwnedSemaphorePermit)>);

/// The client has left the queue full for too long, or is gone.
pub(super) struct Full;

pub(super) fn new() -> (Outbox, Queued) {
    let (queue, queued) = mpsc::unbounded_channel();
    (Outbox { room: Arc::new(Semaphore::new(MAX_QUEUED as usize)), queue }, Queued(queued))
}

impl Outbox {
    /// Queues a message as soon as there is room.
    pub(super) async fn push(&self, text: String) -> Result<(), Full> {
        let bytes = u32::try_from(text.len()).unwrap_or(MAX_QUEUED).min(MAX_QUEUED);
        let room = timeout(PATIENCE, Arc::clone(&self.room).acquire_many_owned(bytes)).await;
        let room = room.ok().and_then(Result::ok).ok_or(Full)?;
        self.queue.send((Message::Text(text.into()), room)).map_err(|_| Full)
    }

    /// Queues the close frame behind all else; it needs no room.
    pub(super) fn close(&self, frame: CloseFrame) {
        if let Ok(nothing) = Arc::clone(&self.room).try_acquire_many_owned(0) {
            // When the client is gone, there is nobody to take leave of.
            let _ = self.queue.send((Message::Close(Some(frame)), nothing));
        }
    }

    /// Waits until all of it was sent, the close frame too, or cannot be.
    pub(super) async fn is_written(&self) {
        self.queue.closed().await;
    }
}

impl Queued {
    /// Sends what is queued, and pings in between, until the other end is dropped or the client is gone.
    pub(super) async fn write_to(mut self, mut client: SplitSink<WebSocket, Message>) {
        let mut ping = interval(PING);
        loop {
            let (message, room) = tokio::select! {
                queued = self.0.recv() => match queued {
                    Some((message, room)) => (message, Some(room)),
                    None => return,
                },
                _ = ping.tick() => (Message::Ping(Vec::new().into()), None),
            };
            let is_last = matches!(message, Message::Close(_));
            if client.send(message).await.is_err() || is_last {
                return;
            }
            drop(room);
        }
    }
}
