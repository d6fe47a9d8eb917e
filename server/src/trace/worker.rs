//! The way of a trace's events: from the ring buffer, through a bounded queue, described and numbered, to the
//! live ring. Reading the ring buffer never waits for what comes after it.

use std::{
    io,
    sync::{Arc, atomic::Ordering, mpsc::RecvTimeoutError},
    thread,
    time::Duration,
};

use synscope_tracer::{Event, Kernel, Tracer, process::Processes};

use super::{
    EndReason, Progress, Trace, lock,
    queue::{self, Queue, Queued},
};
use crate::{
    event::{Describer, UnixNano, are_known, look},
    memory,
};

/// Events taken from the ring buffer at once.
const BATCH: usize = 512;
/// Programs that were running when their link was closed end within microseconds; this is how long the last
/// of their records is waited for.
const LAST_RECORDS: Duration = Duration::from_millis(100);

/// Without an event for so long, what was kept open for the next one is closed.
const REST: Duration = Duration::from_secs(10);
/// How often figures are taken that only the tracer can tell.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two sweeps of the attempt map.
const SWEEP_EVERY: u64 = 600;

/// Starts the trace's two halves.
pub(super) fn start(trace: &Arc<Trace>, tracer: Tracer, kernel: Kernel) -> io::Result<()> {
    let (queue, queued) = queue::new();
    let ending = Ending(Arc::clone(trace));
    let processes = Arc::new(Processes::new());
    let looking = Arc::clone(&processes);
    thread::Builder::new().name("synscope-events".into()).spawn(move || {
        describe_all(&ending.0, Describer::new(kernel, processes), &queued);
        memory::give_back();
    })?;
    tokio::spawn(read_all(Arc::clone(trace), tracer, looking, queue));
    Ok(())
}

/// Reads the ring buffer until the trace is to stop, then detaches, drains and unloads.
async fn read_all(trace: Arc<Trace>, mut tracer: Tracer, processes: Arc<Processes>, queue: Queue) {
    let ttl = trace.request.ttl_s.map_or(Duration::MAX, Duration::from_secs);
    let ttl = tokio::time::sleep(ttl);
    tokio::pin!(ttl);
    let mut tick = tokio::time::interval(TICK);
    let mut ticks = 0_u64;
    let mut last = 0;
    loop {
        // As much as last time, most likely: to grow is to copy.
        let mut events = Vec::with_capacity(last);
        let read = tokio::select! {
            read = tracer.read(&mut events, BATCH) => read,
            _ = tick.tick() => {
                ticks += 1;
                account(&trace, &mut tracer, ticks.is_multiple_of(SWEEP_EVERY));
                while let Some(probe) = tracer.detached() {
                    let hook = probe.name();
                    tracing::error!(trace = trace.id, hook, "somebody else has detached a program, the trace ends");
                    trace.ask_to_stop(EndReason::Detached);
                }
                if trace.is_recorded() {
                    trace.ask_to_stop(EndReason::Recorded);
                }
                // A record that was held up on its way is late for the look that it did not ask for itself.
                tracer.drain(&mut events, BATCH);
                Ok(())
            }
            () = trace.stopping.cancelled() => break,
            () = &mut ttl => {
                trace.ask_to_stop(EndReason::Ttl);
                break;
            }
        };
        if !are_known(&processes, &events) {
            // Reading /proc can wait for a process that is stuck in its own memory: not at the cost of other tasks.
            tokio::task::block_in_place(|| look(&processes, &events));
        }
        last = events.len();
        hand_over(&trace, &queue, events);
        if let Err(error) = read {
            tracing::error!(trace = trace.id, %error, "reading the ring buffer failed, the trace ends");
            trace.ask_to_stop(EndReason::Error);
            break;
        }
    }
    tracer.detach();
    drain(&trace, &mut tracer, &queue).await;
    account(&trace, &mut tracer, false);
    // Unloaded first: when the other half sees the end of the queue, it says that the trace has ended.
    drop(tracer);
    drop(queue);
}

/// Takes the figures that only the tracer can tell.
fn account(trace: &Trace, tracer: &mut Tracer, sweep: bool) {
    // A process without descriptors to spare cannot look, and is told of none.
    trace.missed.fetch_max(tracer.missed(), Ordering::Relaxed);
    if sweep {
        trace.evicted.fetch_add(tracer.sweep(), Ordering::Relaxed);
    }
}

/// Takes what the programs had produced when they were detached.
async fn drain(trace: &Trace, tracer: &mut Tracer, queue: &Queue) {
    let deadline = tokio::time::Instant::now() + LAST_RECORDS;
    let mut produced = None;
    loop {
        let mut events = Vec::new();
        loop {
            let drained = tracer.drain(&mut events, BATCH);
            // The describing thread may need a moment; nobody else waits for this one.
            queue.send(std::mem::take(&mut events)).await;
            if drained {
                break;
            }
        }
        // Done once the counters have stood still for a moment.
        let now = Some(lock(&trace.figures).read().produced);
        if now == produced || tokio::time::Instant::now() > deadline {
            return;
        }
        produced = now;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn hand_over(trace: &Trace, queue: &Queue, events: Vec<Event>) {
    if queue.is_closed() {
        tracing::error!(trace = trace.id, "the thread that describes events is gone, the trace ends");
        trace.ask_to_stop(EndReason::Error);
    }
    let lost = queue.offer(events);
    let before = trace.lost_queue.fetch_add(lost, Ordering::Relaxed);
    if before == 0 && lost > 0 {
        tracing::error!(trace = trace.id, "events come faster than they can be described; counting losses");
    }
}

/// Describes, numbers and keeps events until the reader is gone; then the trace has ended.
fn describe_all(trace: &Trace, mut describer: Describer, queued: &Queued) {
    let mut left = trace.request.max_events.unwrap_or(u64::MAX);
    // Kept from batch to batch: it is large.
    let mut bodies = Vec::new();
    loop {
        let events = match queued.next(REST) {
            Ok(events) => events,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                describer.rest();
                continue;
            }
        };
        let wanted = usize::try_from(left).unwrap_or(usize::MAX);
        let beyond = events.len().saturating_sub(wanted) as u64;
        bodies.extend(events.into_iter().take(wanted).map(|event| describer.describe(event)));
        trace.unasked.store(describer.skipped(), Ordering::Relaxed);
        left -= bodies.len() as u64;
        // What was produced beyond the limit is not told, and still accounted for.
        trace.lost_queue.fetch_add(beyond, Ordering::Relaxed);
        let next_seq = trace.tell(&bodies);
        bodies.clear();
        trace.progress.send_replace(Progress { next_seq, ended: None });
        if left == 0 {
            trace.ask_to_stop(EndReason::MaxEvents);
        }
    }
}

/// Says that the trace has ended, whatever ends the thread: nobody may wait for it in vain.
struct Ending(Arc<Trace>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.unload_counters();
        let reason = lock(&self.0.end_reason).unwrap_or(EndReason::Error);
        self.0.end_at(UnixNano::now(), reason);
    }
}
