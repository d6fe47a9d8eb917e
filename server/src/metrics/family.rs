//! Figures before anybody writes them down: /metrics and OTLP tell the same ones.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Figures of one name, as Prometheus names it: with its unit, and a counter's name ends in `_total`.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    pub(crate) samples: Vec<Sample>,
}

/// One figure. Label values are of fixed sets, and have nothing to escape.
pub(crate) struct Sample {
    pub(crate) labels: Vec<(&'static str, &'static str)>,
    pub(crate) value: Value,
}

pub(crate) enum Value {
    Whole(u64),
    Fraction(f64),
    Buckets(Buckets),
}

/// How many were above one bound and at most the next. The last count is of those above all bounds, so there is one
/// count more than bounds.
pub(crate) struct Buckets {
    pub(crate) bounds: Vec<f64>,
    pub(crate) counts: Vec<u64>,
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Whole(count)
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::Whole(count as u64)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Fraction(value)
    }
}

impl From<Buckets> for Value {
    fn from(buckets: Buckets) -> Self {
        Self::Buckets(buckets)
    }
}

/// Families, one after the other.
#[derive(Default)]
pub(crate) struct Families(Vec<Family>);

impl Families {
    /// Begins a family; its samples follow.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> &mut Family {
        let place = self.0.len();
        self.0.push(Family { name, kind, help, samples: Vec::new() });
        &mut self.0[place]
    }

    pub(crate) fn finish(self) -> Vec<Family> {
        self.0
    }
}

impl Family {
    pub(crate) fn sample(
        &mut self,
        labels: &[(&'static str, &'static str)],
        value: impl Into<Value>,
    ) -> &mut Self {
        self.samples.push(Sample { labels: labels.to_vec(), value: value.into() });
        self
    }
}
