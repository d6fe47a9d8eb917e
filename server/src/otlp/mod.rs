//! What leaves this host by OTLP: attempts that failed, were retried or slow, as spans; and the figures of /metrics.
//!
//! Attempts wait in a bounded queue and leave in batches, as protobuf over HTTP. A collector that is away is asked again
//! for half a minute; what it has not taken by then is lost, as is what finds the queue full, and both are counted.

mod client;
mod figures;
mod settings;
mod span;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::ExportMetricsServiceRequest,
        trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    },
    common::v1::InstrumentationScope,
    metrics::v1::{ResourceMetrics, ScopeMetrics},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans},
};
use prost::Message as _;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{Failure, attempt::Attempt, event::UnixNano, metrics::Family};
use client::{Answer, Client};
use settings::Settings;
use span::span;

/// Attempts that wait to be sent, some 10 KB each with stacks. What comes beyond is counted as lost at `queue`.
const QUEUE: usize = 4_096;
/// Spans of one request.
const BATCH: usize = 512;
/// The longest that a span waits for others to leave with it.
const WINDOW: Duration = Duration::from_secs(1);
/// Waits between tries of one batch; after the last it is lost at `collector`.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];

/// Spans, counted where their way ends.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    lost_queue: AtomicU64,
    lost_collector: AtomicU64,
}

/// Spans that nobody took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lost {
    /// They found the queue full.
    pub(crate) queue: u64,
    /// The collector was away for too long, or would not have them.
    pub(crate) collector: u64,
}

/// Where traces put attempts that have ended. Never waits.
#[derive(Clone)]
pub(crate) struct Outlet {
    queue: mpsc::Sender<Told>,
    counts: Arc<Counts>,
}

/// An attempt, and the trace that told it.
struct Told {
    trace: String,
    attempt: Attempt,
}

impl Outlet {
    pub(crate) fn offer(&self, trace: &str, attempt: Attempt) {
        if self.queue.try_send(Told { trace: trace.to_owned(), attempt }).is_err()
            && self.counts.lost_queue.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::error!("attempts end faster than the OTLP collector takes them; counting losses");
        }
    }

    /// Spans that a collector took, and those that none took.
    pub(crate) fn counts(&self) -> (u64, Lost) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { sent, lost_queue, lost_collector } = &*self.counts;
        (count(sent), Lost { queue: count(lost_queue), collector: count(lost_collector) })
    }
}

/// The other end.
pub(crate) struct Exporter {
    queued: mpsc::Receiver<Told>,
    counts: Arc<Counts>,
    client: Client,
    resource: Resource,
    figures_every: Duration,
    began: UnixNano,
}

/// Sends until it is told to finish.
pub(crate) struct Exporting {
    task: JoinHandle<()>,
    end: CancellationToken,
}

impl Exporting {
    /// Sends what is left, once, and ends.
    pub(crate) async fn finish(self) {
        self.end.cancel();
        // A panic of the task has been told, and there is nothing left to wait for.
        let _ = self.task.await;
    }
}

/// Both ends of the way to this endpoint.
pub(crate) fn open(endpoint: &str) -> Result<(Outlet, Exporter), Failure> {
    let Settings { endpoint, headers, resource, figures_every } = Settings::of(endpoint)?;
    let (queue, queued) = mpsc::channel(QUEUE);
    let counts = Arc::new(Counts::default());
    let exporter = Exporter {
        queued,
        counts: Arc::clone(&counts),
        client: Client::new(endpoint, headers),
        resource,
        figures_every,
        began: UnixNano::now(),
    };
    Ok((Outlet { queue, counts }, exporter))
}

impl Exporter {
    /// Sends attempts, and every now and then the figures.
    pub(crate) fn start(self, figures: impl Fn() -> Vec<Family> + Send + 'static) -> Exporting {
        let end = CancellationToken::new();
        Exporting { task: tokio::spawn(self.run(figures, end.clone())), end }
    }

    /// Sends until `end`, then what is left.
    async fn run(mut self, figures: impl Fn() -> Vec<Family>, end: CancellationToken) {
        let (mut window, mut figures_due) = (interval(WINDOW), interval(self.figures_every));
        window.set_missed_tick_behavior(MissedTickBehavior::Delay);
        figures_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let room = BATCH - batch.len();
            tokio::select! {
                received = self.queued.recv_many(&mut batch, room) => {
                    if received == 0 {
                        break;
                    }
                    if received < room {
                        continue;
                    }
                }
                _ = window.tick() => {}
                _ = figures_due.tick() => {
                    self.send_figures(figures()).await;
                    continue;
                }
                () = end.cancelled() => break,
            }
            self.send_spans(&mut batch, &end).await;
        }
        self.queued.close();
        while let Ok(told) = self.queued.try_recv() {
            batch.push(told);
            if batch.len() >= BATCH {
                self.send_spans(&mut batch, &end).await;
            }
        }
        self.send_spans(&mut batch, &end).await;
        self.send_figures(figures()).await;
    }

    /// Sends what is in the batch, and tries again until `end` while that may help.
    async fn send_spans(&self, batch: &mut Vec<Told>, end: &CancellationToken) {
        if batch.is_empty() {
            return;
        }
        let spans: Vec<_> = batch.drain(..).map(|told| span(&told.trace, &told.attempt)).collect();
        let count = spans.len() as u64;
        let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
        let resource = Some(self.resource.clone());
        let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let mut pauses = PAUSES.into_iter();
        let taken = loop {
            let (wait, problem) = match self.client.post("/v1/traces", body.clone()).await {
                Answer::Taken(answer) => break count.saturating_sub(rejected(&answer)),
                Answer::Refused(problem) => (None, problem),
                Answer::Later(wait, problem) => (pauses.next().map(|pause| wait.unwrap_or(pause)), problem),
            };
            let Some(wait) = wait.filter(|_| !end.is_cancelled()) else {
                tracing::error!("{count} spans are lost: {problem}");
                break 0;
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // One more try, then no more.
                () = end.cancelled() => {}
            }
        };
        self.counts.sent.fetch_add(taken, Ordering::Relaxed);
        self.counts.lost_collector.fetch_add(count - taken, Ordering::Relaxed);
    }

    /// Figures add up, so that the next ones make up for those that were not taken.
    async fn send_figures(&self, families: Vec<Family>) {
        let metrics = figures::metrics(families, self.began, UnixNano::now());
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
        let resource = Some(self.resource.clone());
        let resource_metrics =
            vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
        let body = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
        if let Answer::Refused(problem) | Answer::Later(_, problem) =
            self.client.post("/v1/metrics", body).await
        {
            tracing::warn!("figures did not reach the OTLP collector: {problem}");
        }
    }
}

/// How many of the spans that it was sent a collector would not have.
fn rejected(answer: &[u8]) -> u64 {
    // An answer that cannot be read comes from something that took the request, and says nothing else.
    let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
    let Some(partial) = answer.partial_success.filter(|partial| partial.rejected_spans > 0) else { return 0 };
    tracing::error!(
        "the OTLP collector rejected {} spans: {}",
        partial.rejected_spans,
        partial.error_message
    );
    partial.rejected_spans.unsigned_abs()
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "synscope".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    }
}
