//! From the ring buffer's reader to the thread that describes events: handed over as they were read, many at once,
//! since waking a thread costs more than an event does.

use std::{
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use synscope_tracer::Event;
use tokio::sync::Semaphore;

/// Events that may wait: some 70 MB with stacks at the most. When there is no more room, those at hand are dropped, and
/// counted as `lost.queue`.
const QUEUE: usize = 65_536;

/// The reader's end.
pub(super) struct Queue {
    room: Arc<Semaphore>,
    sender: mpsc::Sender<Vec<Event>>,
}

/// The end of the thread that describes.
pub(super) struct Queued {
    room: Arc<Semaphore>,
    receiver: mpsc::Receiver<Vec<Event>>,
}

pub(super) fn new() -> (Queue, Queued) {
    let room = Arc::new(Semaphore::new(QUEUE));
    let (sender, receiver) = mpsc::channel();
    (Queue { room: Arc::clone(&room), sender }, Queued { room, receiver })
}

impl Queue {
    /// Hands over what there is room for, and tells how many events there was none for.
    pub(super) fn offer(&self, mut events: Vec<Event>) -> u64 {
        let offered = events.len();
        // Nobody else takes room, so what is there now is there still when it is taken.
        events.truncate(self.room.available_permits());
        let lost = offered - events.len();
        self.room.forget_permits(events.len());
        let refused = self.push(events);
        (lost + refused) as u64
    }

    /// Hands over all of them, once there is room.
    pub(super) async fn send(&self, events: Vec<Event>) {
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        if let Ok(room) = self.room.acquire_many(count).await {
            room.forget();
            self.push(events);
        }
    }

    /// How many could not be handed over, because nobody is there to take them.
    fn push(&self, events: Vec<Event>) -> usize {
        if events.is_empty() {
            return 0;
        }
        self.sender.send(events).map_or_else(|refused| refused.0.len(), |()| 0)
    }

    /// Nobody will take what is handed over.
    pub(super) fn is_closed(&self) -> bool {
        self.room.is_closed()
    }
}

impl Queued {
    /// What was read next, if that comes soon enough.
    pub(super) fn next(&self, patience: Duration) -> Result<Vec<Event>, RecvTimeoutError> {
        let events = self.receiver.recv_timeout(patience)?;
        self.room.add_permits(events.len());
        Ok(events)
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        // Nobody shall wait for room that will not come.
        self.room.close();
    }
}

#[cfg(test)]
mod tests {
    use synscope_tracer::EventKind;

    use super::*;
    use crate::event::sample;

    fn events(count: usize) -> Vec<Event> {
        vec![sample(EventKind::Started); count]
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_until_there_is_room_again() {
        let (queue, queued) = new();
        let next = || queued.next(Duration::ZERO).map(|events| events.len());
        assert_eq!(queue.offer(events(QUEUE - 1)), 0);
        assert_eq!(queue.offer(events(3)), 2);
        assert_eq!(queue.offer(events(1)), 1);
        assert_eq!(next(), Ok(QUEUE - 1));
        assert_eq!(queue.offer(events(2)), 0);
        assert_eq!(next(), Ok(1));
        assert_eq!(next(), Ok(2));
        assert_eq!(next(), Err(RecvTimeoutError::Timeout));
        drop(queue);
        assert_eq!(next(), Err(RecvTimeoutError::Disconnected));
    }

    #[tokio::test]
    async fn what_nobody_takes_is_lost_and_not_waited_for() {
        let (queue, queued) = new();
        assert_eq!(queue.offer(events(QUEUE)), 0);
        assert!(!queue.is_closed());
        drop(queued);
        assert!(queue.is_closed());
        assert_eq!(queue.offer(events(2)), 2);
        queue.send(events(2)).await;
    }
}
