//! The text that Prometheus reads: OpenMetrics 1.0, or the older text format for those that do not ask for it. They
//! differ in the name that a counter's metadata has, and in the end.

use std::fmt::{Display, Write as _};

use super::family::{Buckets, Family, Kind, Sample, Value};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    OpenMetrics,
    Text,
}

impl Format {
    pub(crate) fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All families, as text.
pub(crate) fn write(format: Format, families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        let Family { name, kind, help, samples } = family;
        let metadata = match format {
            Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
            Format::Text => name,
        };
        // Writing into a string cannot fail.
        let _ = writeln!(text, "# HELP {metadata} {help}\n# TYPE {metadata} {}", kind.name());
        for sample in samples {
            write_sample(&mut text, name, sample);
        }
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

fn write_sample(text: &mut String, name: &str, Sample { labels, value }: &Sample) {
    match value {
        Value::Whole(count) => write_line(text, name, labels, count),
        Value::Fraction(value) => write_line(text, name, labels, value),
        Value::Buckets(Buckets { bounds, counts }) => {
            let name = format!("{name}_bucket");
            let bounds = bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
            let mut sum = 0;
            for (le, count) in bounds.zip(counts) {
                sum += count;
                write_line(text, &name, &[("le", &le)], sum);
            }
        }
    }
}

fn write_line(text: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(text, "{name}{labels} {value}");
}
