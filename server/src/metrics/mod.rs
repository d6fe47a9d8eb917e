//! What monitoring asks for: figures of all traces together, and of this process. Label values come from fixed sets, so
//! the number of series does not depend on what the host does.

mod exposition;
mod family;
mod process;

use synscope_tracer::{Cause, DURATION_BUCKETS};

pub(crate) use exposition::{Format, write as text};
pub(crate) use family::{Buckets, Families, Family, Kind, Sample, Value};

use crate::{
    event::EventName,
    history::HistoryState,
    otlp::Lost,
    trace::{CountersJson, Totals},
};

/// What is true at this moment, besides what has added up.
pub(crate) struct Now {
    pub(crate) running: usize,
    pub(crate) ended: usize,
    pub(crate) readers: usize,
    pub(crate) history: HistoryState,
    pub(crate) history_queue: usize,
    pub(crate) spans_sent: u64,
    pub(crate) spans_lost: Lost,
}

/// All figures.
pub(crate) fn families(totals: &Totals, now: &Now) -> Vec<Family> {
    let mut out = Families::default();
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    out.family("synscope_build_info", Kind::Gauge, "The version that runs.").sample(&version, 1_u64);
    out.family("synscope_traces", Kind::Gauge, "Traces that are held.")
        .sample(&[("state", "running")], now.running)
        .sample(&[("state", "ended")], now.ended);
    let help = "Programs that follow a trace by WebSocket.";
    out.family("synscope_stream_readers", Kind::Gauge, help).sample(&[], now.readers);
    let help = "How history is: 1 for the state that it is in.";
    let family = out.family("synscope_history_state", Kind::Gauge, help);
    for (state, name) in HistoryState::ALL {
        family.sample(&[("state", name)], u64::from(state == now.history));
    }
    let help = "Events that wait to be written to history. At 32 MiB others are lost.";
    out.family("synscope_history_queue_bytes", Kind::Gauge, help).sample(&[], now.history_queue);
    attempts(&mut out, totals);
    durations(&mut out, &totals.counters.connect_duration_log2_us);
    events(&mut out, &totals.counters);
    spans(&mut out, now);
    process::write(&mut out);
    out.finish()
}

fn attempts(out: &mut Families, totals: &Totals) {
    let counts = &totals.counters.attempts;
    let help =
        "Connection attempts that traces followed, by the kernel's own count. Each trace counts for itself.";
    out.family("synscope_tcp_connect_attempts_total", Kind::Counter, help).sample(&[], counts.started);
    let help = "Attempts that are over, by how that came.";
    out.family("synscope_tcp_connect_ended_total", Kind::Counter, help)
        .sample(&[("outcome", "established")], counts.established)
        .sample(&[("outcome", "failed")], counts.failed)
        .sample(&[("outcome", "untracked")], counts.untracked)
        .sample(&[("outcome", "replaced")], counts.replaced)
        .sample(&[("outcome", "evicted")], counts.evicted);
    let help = "Failed attempts that were told, by cause.";
    let family = out.family("synscope_tcp_connect_failures_total", Kind::Counter, help);
    for (cause, count) in Cause::ALL.iter().zip(totals.causes) {
        family.sample(&[("cause", cause.name())], count);
    }
    for (event, name, help) in [
        (
            EventName::Retransmit,
            "synscope_tcp_syn_retransmits_total",
            "SYNs that were told to have left again.",
        ),
        (
            EventName::Challenge,
            "synscope_tcp_challenge_acks_total",
            "Challenge ACKs: the peer held an old connection on the same four-tuple.",
        ),
        (EventName::SynAckRetransmit, "synscope_tcp_synack_retransmits_total", "SYN-ACKs that left again."),
    ] {
        out.family(name, Kind::Counter, help).sample(&[], totals.events[event as usize]);
    }
}

/// The kernel side counts buckets and keeps no sum, so there is none here.
#[expect(clippy::cast_precision_loss, reason = "powers of two are exact")]
fn durations(out: &mut Families, log2_us: &[u64]) {
    let help = "Time from SYN_SENT to ESTABLISHED of all attempts, quick ones too.";
    // The last bucket has no upper end.
    let bounds = (0..DURATION_BUCKETS - 1).map(|power| (2_u64 << power) as f64 / 1e6).collect();
    let counts = (0..DURATION_BUCKETS).map(|power| log2_us.get(power).copied().unwrap_or(0)).collect();
    out.family("synscope_tcp_connect_duration_seconds", Kind::Histogram, help)
        .sample(&[], Buckets { bounds, counts });
}

fn events(out: &mut Families, counters: &CountersJson) {
    let help = "Records that the kernel side had to tell.";
    out.family("synscope_events_produced_total", Kind::Counter, help).sample(&[], counters.produced);
    let help = "Records that nobody was told of, by where they were lost.";
    out.family("synscope_events_lost_total", Kind::Counter, help)
        .sample(&[("stage", "ringbuf")], counters.lost.ringbuf)
        .sample(&[("stage", "queue")], counters.lost.queue)
        .sample(&[("stage", "history")], counters.lost.history);
    let help = "Hooks that the kernel skipped, because the processor was in the program already.";
    out.family("synscope_hooks_missed_total", Kind::Counter, help).sample(&[], counters.attempts.missed);
    let help = "Events given up because kernel memory could not be read.";
    out.family("synscope_kernel_read_faults_total", Kind::Counter, help)
        .sample(&[], counters.attempts.faults);
}

/// Nil without `--otlp`, so that an alert about losses has something to look at.
fn spans(out: &mut Families, now: &Now) {
    let help = "Spans that an OTLP collector took.";
    out.family("synscope_otlp_spans_sent_total", Kind::Counter, help).sample(&[], now.spans_sent);
    let help = "Spans that no OTLP collector took, by where they were lost.";
    let family = out.family("synscope_otlp_spans_lost_total", Kind::Counter, help);
    family.sample(&[("stage", "queue")], now.spans_lost.queue);
    family.sample(&[("stage", "collector")], now.spans_lost.collector);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> String {
        let mut totals = Totals::default();
        for _ in 0..2 {
            let mut counters = CountersJson::default();
            (counters.attempts.started, counters.lost.queue) = (7, 3);
            counters.connect_duration_log2_us = vec![1, 0, 0, 4];
            totals.counters += &counters;
        }
        totals.counters.connect_duration_log2_us.resize(DURATION_BUCKETS, 2);
        totals.causes[0] = 5;
        totals.events[EventName::Retransmit as usize] = 9;
        let spans_lost = Lost { queue: 4, collector: 0 };
        let now = Now {
            running: 1,
            ended: 2,
            readers: 3,
            history: HistoryState::Paused,
            history_queue: 6,
            spans_sent: 8,
            spans_lost,
        };
        text(Format::OpenMetrics, &families(&totals, &now))
    }

    #[test]
    fn figures_stand_where_they_belong() {
        let text = sample();
        for line in [
            "# TYPE synscope_tcp_connect_failures counter",
            "synscope_tcp_connect_failures_total{cause=\"refused\"} 5",
            "synscope_tcp_connect_failures_total{cause=\"timeout\"} 0",
            "synscope_tcp_syn_retransmits_total 9",
            "synscope_events_lost_total{stage=\"queue\"} 6",
            "synscope_tcp_connect_attempts_total 14",
            "synscope_traces{state=\"ended\"} 2",
            "synscope_history_state{state=\"paused\"} 1",
            "synscope_history_state{state=\"recording\"} 0",
            "synscope_history_queue_bytes 6",
            "synscope_otlp_spans_lost_total{stage=\"queue\"} 4",
        ] {
            assert!(text.lines().any(|there| there == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn buckets_add_up() {
        let text = sample();
        let buckets: Vec<_> = text.lines().filter(|line| line.contains("duration_seconds_bucket")).collect();
        assert_eq!(buckets[0], "synscope_tcp_connect_duration_seconds_bucket{le=\"0.000002\"} 2");
        assert_eq!(buckets[3], "synscope_tcp_connect_duration_seconds_bucket{le=\"0.000016\"} 10");
        assert_eq!(
            buckets.last(),
            Some(
                &format!(
                    "synscope_tcp_connect_duration_seconds_bucket{{le=\"+Inf\"}} {}",
                    10 + 2 * (DURATION_BUCKETS - 4)
                )
                .as_str()
            )
        );
        assert_eq!(buckets.len(), DURATION_BUCKETS);
    }

    #[test]
    fn the_process_is_among_them() {
        let text = sample();
        for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
            let line =
                text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{text}"));
            assert!(line.trim().parse::<f64>().unwrap() >= 0.0, "{name}: {line}");
        }
    }
}
