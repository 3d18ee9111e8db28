//! Single-writer counters and histograms.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// A number that one thread writes and others read.
///
/// With two writers counts would get lost; that is the price for having no
/// locked instruction on the hot path.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning worker may call it.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes `n` away (for gauges). Only the owning worker may call it.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Sets the value (for gauges). Only the owning worker may call it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Number of buckets of a [`Histogram`]: below 1 µs, 2 µs, 4 µs ... 2^36 µs
/// (19 h), and above.
pub(super) const BUCKETS: usize = 38;

/// Durations in buckets of powers of two microseconds.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum_micros: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Counter::default()), sum_micros: Counter::default() }
    }
}

impl Histogram {
    /// Counts one duration. Only the owning worker may call it.
    pub fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].add(1);
        self.sum_micros.add(micros);
    }

    /// Adds what another process has counted. Only the owning worker may call
    /// it.
    pub fn absorb(&self, counted: &HistogramSnapshot) {
        for (bucket, more) in self.buckets.iter().zip(&counted.buckets) {
            bucket.add(*more);
        }
        self.sum_micros.add(counted.sum_micros);
    }

    /// Adds what is counted so far to `total`.
    pub fn add_to(&self, total: &mut HistogramSnapshot) {
        for (sum, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.get();
        }
        total.sum_micros = total.sum_micros.wrapping_add(self.sum_micros.get());
    }
}

/// The sum of several [`Histogram`]s at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Not cumulative; bucket n counts durations below 2^n µs that no lower
    /// bucket counts.
    pub buckets: [u64; BUCKETS],
    /// Sum of all durations in µs.
    pub sum_micros: u64,
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum_micros: 0 }
    }
}

impl HistogramSnapshot {
    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += bucket;
        }
        self.sum_micros = self.sum_micros.wrapping_add(other.sum_micros);
    }

    /// What was counted since `earlier`, an older look at the same.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            buckets: std::array::from_fn(|n| self.buckets[n].saturating_sub(earlier.buckets[n])),
            sum_micros: self.sum_micros.wrapping_sub(earlier.sum_micros),
        }
    }

    /// The mean; `None` before the first.
    pub fn mean(&self) -> Option<Duration> {
        let micros = self.sum_micros.checked_div(self.count())?;
        Some(Duration::from_micros(micros))
    }
}
