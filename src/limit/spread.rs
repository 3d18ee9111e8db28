//! Spreading what would otherwise come at the same time.

use std::time::Duration;

/// `whole`, or less by up to `percent` of it (at most 100): the same for the
/// same `seed`, even over many seeds, also if they are consecutive.
///
/// Connections that were opened together end apart, and who asks again about
/// one of them gets the same answer.
pub fn spread(whole: Duration, percent: u8, seed: u64) -> Duration {
    let share = (mixed(seed) >> 11) as f64 / (1u64 << 53) as f64;
    whole.mul_f64(1.0 - share * f64::from(percent.min(100)) / 100.0)
}

/// The finalizer of splitmix64 (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", OOPSLA 2014).
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn many_are_spread_evenly() {
        let hour = Duration::from_secs(3600);
        let mut tenths = [0u32; 10];
        for n in 0..10_000u64 {
            let short = hour - spread(hour, 20, n << 10 | 3);
            tenths[(short.as_secs_f64() / 72.0) as usize] += 1;
        }
        // Binomial, 10,000 draws of one tenth: a standard deviation of 30.
        assert!(tenths.iter().all(|count| (850..=1150).contains(count)), "{tenths:?}");
    }

    proptest! {
        #[test]
        fn never_more_and_never_less_than_said(millis in 1..10_000_000u64, percent in 0..=100u8, seed: u64) {
            let whole = Duration::from_millis(millis);
            let spread = spread(whole, percent, seed);
            let least = whole.mul_f64(1.0 - f64::from(percent) / 100.0);
            // To the rounding of a float.
            prop_assert!(spread <= whole && spread + Duration::from_micros(1) >= least, "{:?} {:?}", spread, whole);
        }
    }
}
