//! A WebSocket client that counts, and parses no more than it must: it shares the machine with what is measured.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Api, Server, Stream};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// A trace with one reader.
pub struct Reader {
    api: Api,
    path: String,
    stream: Stream,
}

/// What a reader was sent.
#[derive(Default)]
pub struct Seen {
    /// Events that it was sent.
    pub failures: u64,
    /// Events within gaps.
    pub missed: u64,
    /// From the kernel's event to its arrival here, in milliseconds.
    pub delays: Vec<f64>,
}

impl Reader {
    /// Starts a trace and follows it.
    pub fn start(server: &Server, request: &Value) -> Result<Self> {
        let api = server.api().clone();
        let reply = api.post("/api/v1/traces", request)?;
        reply.expect(201)?;
        Self::follow(&api, &reply.location, 0)
    }

    /// Follows a trace that runs, from an event on.
    pub fn follow(api: &Api, path: &str, after: u64) -> Result<Self> {
        let stream = Stream::open(api, &format!("{path}/stream?after={after}"))?;
        Ok(Self { api: api.clone(), path: path.to_owned(), stream })
    }

    /// A trace of one namespace, without stacks.
    pub fn of_netns(server: &Server, netns: u64) -> Result<Self> {
        Self::start(server, &json!({"filter": {"netns": netns}, "stacks": false}))
    }

    /// Reads until so many events were sent or skipped, or nothing comes for a while.
    pub fn read(&mut self, events: u64) -> Result<Seen> {
        let mut seen = Seen::default();
        // Heartbeats come every five seconds at least; two of them without an event are the end.
        let mut heartbeats = 0;
        while seen.failures + seen.missed < events && heartbeats < 6 {
            let Some(text) = self.stream.next_text(Instant::now() + Duration::from_secs(15))? else { break };
            if text.contains("\"type\":\"events\"") {
                heartbeats = 0;
                seen.count(&text)?;
            } else if text.contains("\"type\":\"gap\"") {
                let gap: Value = serde_json::from_str(&text)?;
                seen.missed += gap["count"].as_u64().context("a gap without a count")?;
            } else {
                heartbeats += 1;
            }
        }
        Ok(seen)
    }

    /// What it reads from.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// The trace's counters once it has stopped.
    pub fn stop(self) -> Result<Value> {
        let stopped = self.api.send("POST", &format!("{}/stop", self.path), &[], None)?.expect(200)?;
        let counters = stopped.at("/counters").clone();
        self.api.delete(&self.path)?;
        Ok(counters)
    }
}

impl Seen {
    fn count(&mut self, text: &str) -> Result<()> {
        const TIME: &str = "\"time_unix_nano\":\"";
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        for (at, _) in text.match_indices(TIME) {
            let digits = &text[at + TIME.len()..];
            let digits = digits.split('"').next().unwrap_or_default();
            let then: u128 = digits.parse().context("a time that is no number")?;
            let micros = u32::try_from(now.saturating_sub(then) / 1000)?;
            self.delays.push(f64::from(micros) / 1e3);
            self.failures += 1;
        }
        Ok(())
    }
}

/// Seconds of processor time that a process has used.
pub fn processor_time(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').context("an unknown /proc/PID/stat")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    #[expect(clippy::cast_precision_loss, reason = "it is 100")]
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Ok(ticks / per_second)
}
