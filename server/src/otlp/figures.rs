//! The figures of /metrics as OTLP has them. A collector that writes them for Prometheus arrives at the same names.

use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
        metric::Data, number_data_point::Value as Number,
    },
};

use super::span::attribute;
use crate::{
    event::UnixNano,
    metrics::{Family, Kind, Sample, Value},
};

/// Figures that have added up since `began`, as of `now`.
pub(super) fn metrics(families: Vec<Family>, began: UnixNano, now: UnixNano) -> Vec<Metric> {
    let metric = |family: Family| {
        let (name, unit) = name_and_unit(family.name);
        let data = data(&family, began.0, now.0);
        Metric {
            name: name.into(),
            unit: unit.into(),
            description: family.help.into(),
            data: Some(data),
            ..Metric::default()
        }
    };
    families.into_iter().map(metric).collect()
}

/// Prometheus has unit and kind in the name, OTLP beside it.
fn name_and_unit(name: &str) -> (&str, &str) {
    let name = name.strip_suffix("_total").unwrap_or(name);
    for (suffix, unit) in [("_seconds", "s"), ("_bytes", "By")] {
        if let Some(name) = name.strip_suffix(suffix) {
            return (name, unit);
        }
    }
    (name, "")
}

fn data(family: &Family, began: u64, now: u64) -> Data {
    let temporality = AggregationTemporality::Cumulative.into();
    let numbers = || family.samples.iter().filter_map(|sample| number(sample, began, now)).collect();
    match family.kind {
        Kind::Counter => Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Histogram => {
            let points = family.samples.iter().filter_map(|sample| buckets(sample, began, now));
            Data::Histogram(Histogram { data_points: points.collect(), aggregation_temporality: temporality })
        }
    }
}

fn attributes(sample: &Sample) -> Vec<KeyValue> {
    let labels = sample.labels.iter();
    labels.map(|(name, value)| attribute((*name).to_owned(), (*value).to_owned())).collect()
}

fn number(sample: &Sample, began: u64, now: u64) -> Option<NumberDataPoint> {
    let value = match &sample.value {
        Value::Whole(count) => Number::AsInt(i64::try_from(*count).unwrap_or(i64::MAX)),
        Value::Fraction(value) => Number::AsDouble(*value),
        Value::Buckets(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(sample),
        start_time_unix_nano: began,
        time_unix_nano: now,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn buckets(sample: &Sample, began: u64, now: u64) -> Option<HistogramDataPoint> {
    let Value::Buckets(buckets) = &sample.value else { return None };
    Some(HistogramDataPoint {
        attributes: attributes(sample),
        start_time_unix_nano: began,
        time_unix_nano: now,
        count: buckets.counts.iter().sum(),
        explicit_bounds: buckets.bounds.clone(),
        bucket_counts: buckets.counts.clone(),
        ..HistogramDataPoint::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Buckets, Families};

    fn only(families: Families) -> Metric {
        metrics(families.finish(), UnixNano(1), UnixNano(2)).remove(0)
    }

    #[test]
    fn prometheus_names_come_apart() {
        for (name, parts) in [
            ("synscope_events_lost_total", ("synscope_events_lost", "")),
            ("process_cpu_seconds_total", ("process_cpu", "s")),
            ("process_resident_memory_bytes", ("process_resident_memory", "By")),
            ("synscope_traces", ("synscope_traces", "")),
        ] {
            assert_eq!(name_and_unit(name), parts);
        }
    }

    #[test]
    fn a_counter_is_a_sum_that_only_grows() {
        let mut families = Families::default();
        families.family("a_total", Kind::Counter, "All of them.").sample(&[("cause", "refused")], 3_u64);
        let Some(Data::Sum(sum)) = only(families).data else { panic!("no sum") };
        assert!(sum.is_monotonic && sum.aggregation_temporality() == AggregationTemporality::Cumulative);
        let point = &sum.data_points[0];
        assert_eq!(point.value, Some(Number::AsInt(3)));
        assert_eq!(point.attributes, [attribute("cause".into(), "refused".to_owned())]);
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1, 2));
    }

    #[test]
    fn a_histogram_has_one_count_more_than_bounds() {
        let mut families = Families::default();
        let buckets = Buckets { bounds: vec![0.5, 1.0], counts: vec![2, 0, 1] };
        families.family("a_seconds", Kind::Histogram, "How long.").sample(&[], buckets);
        let Some(Data::Histogram(histogram)) = only(families).data else { panic!("no histogram") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (3, None));
        assert_eq!((&point.explicit_bounds[..], &point.bucket_counts[..]), (&[0.5, 1.0][..], &[2, 0, 1][..]));
    }
}
