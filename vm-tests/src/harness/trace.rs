//! A running trace and the events that it tells.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::kernel::{self, Version};
use super::{Api, Frame, Json, Server, Stream, eventually};

/// How long a scenario waits for one event. The slowest is a kernel's timeout of some seconds.
const EVENT_LIMIT: Duration = Duration::from_secs(45);

/// A trace with an open WebSocket. Dropping it deletes the trace, unless it was left.
pub struct Trace {
    api: Api,
    id: String,
    stream: Stream,
    pending: Vec<Json>,
    told: Vec<Json>,
    left: bool,
}

impl Trace {
    /// Creates a trace; its probes are attached when this returns.
    pub fn start(server: &Server, request: &Value) -> Result<Self> {
        Self::start_in_state(server, request, "running")
    }

    /// As [`Trace::start`], of a trace that does not just run.
    pub fn start_in_state(server: &Server, request: &Value, state: &str) -> Result<Self> {
        let api = server.api().clone();
        let reply = api.post("/api/v1/traces", request)?;
        let created = reply.expect(201)?;
        created.is("/state", state)?;
        let id = created.text("/id")?.to_owned();
        let path = format!("/api/v1/traces/{id}");
        ensure!(reply.location == path, "Location should be {path}, is {:?}", reply.location);
        let mut stream = Stream::open(&api, &format!("{path}/stream"))?;
        stream.expect("hello", Instant::now() + EVENT_LIMIT)?;
        Ok(Self { api, id, stream, pending: Vec::new(), told: Vec::new(), left: false })
    }

    /// The trace's path with `rest` behind it.
    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/traces/{}{rest}", self.id)
    }

    /// The server's client.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Every event that was taken from the WebSocket so far.
    pub fn told(&self) -> &[Json] {
        &self.told
    }

    /// The next event of the WebSocket.
    pub fn next_event(&mut self) -> Result<Json> {
        let deadline = Instant::now() + EVENT_LIMIT;
        while self.pending.is_empty() {
            match self.stream.next_news(deadline)? {
                Some(Frame::Message(message)) => {
                    self.pending = message.is("/type", "events")?.list("/events")?;
                }
                Some(Frame::Closed(code)) => bail!("closed with {code}"),
                None => bail!("no event within {EVENT_LIMIT:?}; told before: {:?}", self.told),
            }
        }
        let event = self.pending.remove(0);
        if let Some(last) = self.told.last() {
            event.is("/seq", last.count("/seq")? + 1).context("sequence numbers are dense")?;
        }
        self.told.push(event.clone());
        Ok(event)
    }

    /// The next event, which must be of this kind.
    pub fn expect(&mut self, kind: &str) -> Result<Json> {
        let event = self.next_event()?;
        event.is("/event", kind)?;
        Ok(event)
    }

    /// Reads on to the first event of this kind, and returns those before it and that one.
    pub fn until(&mut self, kind: &str) -> Result<(Vec<Json>, Json)> {
        let mut before = Vec::new();
        loop {
            let event = self.next_event()?;
            if event.text("/event")? == kind {
                return Ok((before, event));
            }
            before.push(event);
        }
    }

    /// Reads on to the end of an attempt and returns its retransmits and its last event.
    pub fn expect_end(&mut self, kind: &str) -> Result<(Vec<Json>, Json)> {
        let mut retransmits = Vec::new();
        loop {
            let event = self.next_event()?;
            if event.text("/event")? != "connect.retransmit" {
                event.is("/event", kind)?;
                return Ok((retransmits, event));
            }
            retransmits.push(event);
        }
    }

    /// The trace as the server describes it.
    pub fn state(&self) -> Result<Json> {
        self.api.get(&self.path(""))?.expect(200)
    }

    /// The trace once it has ended by itself.
    pub fn ended(&self) -> Result<Json> {
        self.once("never ended", |state| Ok(state.text("/end_reason").is_ok()))
    }

    /// The trace once `counter` (of `/counters/attempts`) has reached `count`; a flush of what is told.
    pub fn counted(&self, counter: &str, count: u64) -> Result<Json> {
        self.reached(&format!("/counters/attempts/{counter}"), count)
    }

    /// The trace once the number at `pointer` has reached `count`.
    pub fn reached(&self, pointer: &str, count: u64) -> Result<Json> {
        self.once(&format!("{pointer} never reached {count}"), |state| Ok(state.count(pointer)? >= count))
    }

    /// The trace once this is true of it.
    fn once(&self, otherwise: &str, is_true: impl Fn(&Json) -> Result<bool>) -> Result<Json> {
        let mut last = Json(Value::Null);
        let found = eventually(EVENT_LIMIT, || {
            last = self.state()?;
            Ok(is_true(&last)?.then(|| last.clone()))
        })?;
        found.with_context(|| format!("{otherwise}: {}", last.0))
    }

    /// Every event that the trace holds, by the JSON endpoint.
    pub fn events(&self) -> Result<Vec<Json>> {
        self.api.get(&self.path("/events?limit=1000"))?.expect(200)?.list("/events")
    }

    /// Stops the trace.
    pub fn stop(&self) -> Result<Json> {
        self.api.send("POST", &self.path("/stop"), &[], None)?.expect(200)
    }

    /// Lets it be, for scenarios about what becomes of it.
    pub fn leave(mut self) {
        self.left = true;
    }

    /// The WebSocket, for scenarios about the stream itself.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

/// The first kernel whose tasks come between each other while programs run (docs/architecture.md, Preemption).
const FIRST_TO_MISS: Version = (7, 1);

static MISSED: AtomicU64 = AtomicU64::new(0);

/// How many programs the kernel has not run for traces that are gone by now. Elsewhere than on kernels that are known
/// for it this stays 0, and nothing is excused.
pub fn missed() -> u64 {
    MISSED.load(Ordering::Relaxed)
}

fn note_missed(trace: &Trace) {
    if kernel::version().is_ok_and(|version| version >= FIRST_TO_MISS) {
        let counted = trace.state().and_then(|state| state.count("/counters/attempts/missed"));
        MISSED.fetch_add(counted.unwrap_or(0), Ordering::Relaxed);
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        note_missed(self);
        // The server may be gone on purpose, or the trace deleted.
        let _ = self.api.delete(&self.path(""));
    }
}
