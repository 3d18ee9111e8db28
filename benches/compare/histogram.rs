//! A histogram of durations with a bounded relative error: buckets are linear
//! within each power of two, as in HdrHistogram.

use std::time::Duration;

/// Bits of a value that are kept below its highest one: an error of at most
/// 1/64.
const BITS: u32 = 6;
const LINEAR: u64 = 1 << BITS;
const BUCKETS: usize = (64 - BITS as usize + 1) * LINEAR as usize;

/// Counts of durations, in nanoseconds.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        self.counts[bucket(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))] += 1;
        self.total += 1;
    }

    /// How many were recorded.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The duration that a part of `quantile` (0 to 1) does not exceed: the
    /// upper end of its bucket, in nanoseconds. 0 if nothing was recorded.
    pub(crate) fn quantile(&self, quantile: f64) -> u64 {
        let rank = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map_or(0, highest)
    }
}

fn bucket(value: u64) -> usize {
    if value < LINEAR {
        return value as usize;
    }
    let shift = value.ilog2() - BITS;
    (u64::from(shift + 1) * LINEAR + ((value >> shift) & (LINEAR - 1))) as usize
}

/// The greatest value of a bucket.
fn highest(bucket: usize) -> u64 {
    let (group, offset) = (bucket as u64 / LINEAR, bucket as u64 % LINEAR);
    match group.checked_sub(1) {
        None => offset,
        // The last bucket of all ends at the greatest value there is.
        Some(shift) => (((LINEAR + offset) << shift) - 1).wrapping_add(1 << shift),
    }
}

#[cfg(test)]
mod tests {
    // Paths in full: in a bench without libtest's harness nothing here is used.
    #[test]
    fn each_value_is_in_a_bucket_that_ends_at_most_a_64th_above_it() {
        let around = |bit: u32| [1_u64 << bit, (1 << bit) + (1 << bit) / 3, (1 << bit) - 1, (2 << bit) - 1];
        for value in (0..63).flat_map(around).chain([1 << 63, u64::MAX]) {
            let end = super::highest(super::bucket(value));
            assert!(end >= value && end - value <= value / super::LINEAR, "{value} in a bucket that ends at {end}");
        }
    }

    #[test]
    fn buckets_follow_each_other() {
        for bucket_before in 0..super::BUCKETS - 1 {
            assert_eq!(super::bucket(super::highest(bucket_before) + 1), bucket_before + 1);
        }
        assert_eq!(super::highest(super::BUCKETS - 1), u64::MAX);
    }

    #[test]
    fn quantiles_of_a_row() {
        let mut histogram = super::Histogram::new();
        (1..=50).for_each(|n| histogram.record(std::time::Duration::from_nanos(n)));
        let found = [0.0, 0.5, 0.99, 1.0].map(|quantile| histogram.quantile(quantile));
        assert_eq!((found, histogram.total()), ([1, 25, 50, 50], 50));
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(super::Histogram::new().quantile(0.5), 0);
    }
}
