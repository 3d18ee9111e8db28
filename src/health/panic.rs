//! When verdicts are not believed: if hardly anybody is healthy, it is rather
//! the checks that are wrong, or all are needed.

/// Whether fewer than `threshold` percent of `total` endpoints are healthy, so
/// that all are to be used. Of none at all there is no panic.
pub fn panics(healthy: usize, total: usize, threshold: u8) -> bool {
    total > 0 && healthy.saturating_mul(100) < total.saturating_mul(usize::from(threshold))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn at_the_threshold_it_is_not_yet() {
        assert!(!panics(1, 5, 20));
        assert!(panics(1, 6, 20));
        assert!(panics(0, 1, 1));
        assert!(!panics(0, 1, 0), "0 never");
        assert!(!panics(0, 0, 100), "nobody is there");
        assert!(panics(4, 5, 100) && !panics(5, 5, 100));
    }

    proptest! {
        #[test]
        fn more_healthy_ones_never_bring_panic(healthy in 0..1000_usize, total in 0..1000_usize, threshold in 0..=100_u8) {
            prop_assert!(panics(healthy, total, threshold) || !panics(healthy + 1, total, threshold));
        }
    }
}
