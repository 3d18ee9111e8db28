//! Builders for metric families, made anew at each scrape.

use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

use super::counter::{BUCKETS, HistogramSnapshot};

/// One metric family: a name, what it means, and its samples.
#[derive(Debug, Clone)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    metrics: Vec<Metric>,
}

/// Which of a histogram's buckets are published: upper bounds of 2^n µs, from
/// `first` to `last`, every `step`th n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    first: usize,
    last: usize,
    step: usize,
}

impl Bounds {
    /// 64 µs to 17 s: network round trips.
    pub const CONNECT: Self = Self { first: 6, last: 24, step: 2 };
    /// 1 ms to 19 h: lives of connections.
    pub const LIFETIME: Self = Self { first: 10, last: 36, step: 2 };
    /// 16 µs to 4 s: how long a loop was away.
    pub const TURN: Self = Self { first: 4, last: 22, step: 2 };

    fn exponents(self) -> impl Iterator<Item = usize> {
        (self.first..=self.last.min(BUCKETS - 2)).step_by(self.step.max(1))
    }
}

impl Family {
    /// A count that only grows. `name` ends in `_total`.
    pub fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    /// A value that goes up and down.
    pub fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    /// A distribution of durations. `name` ends in `_seconds`.
    pub fn histogram(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, MetricType::HISTOGRAM)
    }

    /// Facts as labels; the value is always 1. `name` ends in `_info`.
    pub fn info(name: &'static str, help: &'static str, facts: &[(&str, &str)]) -> Self {
        Self::gauge(name, help).with(facts, 1.0)
    }

    /// Adds one sample of a counter or gauge.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        let mut metric = Metric::from_label(pairs(labels));
        if self.kind == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }

    /// Adds one whole number. Exact up to 2^53, as all of Prometheus is.
    pub fn count(&mut self, labels: &[(&str, &str)], value: u64) {
        self.sample(labels, value as f64);
    }

    /// As [`sample`](Self::sample), for a family with a single one.
    #[must_use]
    pub fn with(mut self, labels: &[(&str, &str)], value: f64) -> Self {
        self.sample(labels, value);
        self
    }

    /// Adds one histogram. Its count is the sum of its buckets, so the two
    /// always agree, even if a worker counted while the shard was read.
    pub fn observed(&mut self, labels: &[(&str, &str)], snapshot: &HistogramSnapshot, bounds: Bounds) {
        let buckets = bounds.exponents().map(|exponent| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(Self::upper_bound(exponent));
            bucket.set_cumulative_count(snapshot.buckets[..=exponent].iter().sum());
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(snapshot.count());
        histogram.set_sample_sum(snapshot.sum_micros as f64 / 1e6);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }

    /// The family for the encoders; `None` if it has no sample, which the text
    /// format does not allow.
    pub fn build(self) -> Option<MetricFamily> {
        if self.metrics.is_empty() {
            return None;
        }
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(self.metrics);
        Some(family)
    }

    fn new(name: &'static str, help: &'static str, kind: MetricType) -> Self {
        Self { name, help, kind, metrics: Vec::new() }
    }

    /// 2^exponent µs in seconds.
    fn upper_bound(exponent: usize) -> f64 {
        (1u64 << exponent) as f64 / 1e6
    }
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |&(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::metrics::Histogram;

    fn observed(durations: &[Duration], bounds: Bounds) -> proto::Histogram {
        let (histogram, mut snapshot) = (Histogram::default(), HistogramSnapshot::default());
        durations.iter().for_each(|&duration| histogram.record(duration));
        histogram.add_to(&mut snapshot);
        let mut family = Family::histogram("x_seconds", "X.");
        family.observed(&[], &snapshot, bounds);
        family.build().expect("has a sample").get_metric()[0].get_histogram().clone()
    }

    #[test]
    fn a_family_without_samples_is_not_published() {
        assert!(Family::counter("x_total", "X.").build().is_none());
    }

    #[test]
    fn sum_and_count_are_of_all_durations() {
        let histogram = observed(&[Duration::from_millis(1500), Duration::from_secs(200_000)], Bounds::CONNECT);
        assert_eq!(histogram.get_sample_count(), 2);
        assert!((histogram.get_sample_sum() - 200_001.5).abs() < 1e-6);
        let last = histogram.get_bucket().last().expect("has buckets");
        assert_eq!(last.cumulative_count(), 1, "the long one is only in +Inf");
    }

    proptest! {
        #[test]
        fn buckets_count_what_is_below_their_bound(micros in proptest::collection::vec(0u64..1 << 40, 0..50)) {
            let durations: Vec<_> = micros.iter().map(|&n| Duration::from_micros(n)).collect();
            for bounds in [Bounds::CONNECT, Bounds::LIFETIME, Bounds::TURN] {
                for bucket in observed(&durations, bounds).get_bucket() {
                    let below = durations.iter().filter(|each| each.as_secs_f64() < bucket.upper_bound()).count();
                    prop_assert_eq!(bucket.cumulative_count(), below as u64);
                }
            }
        }
    }
}
