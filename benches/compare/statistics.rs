//! The median of a few values, and how far it can be trusted.

/// How often an interval is to hold the true median.
const CONFIDENCE: f64 = 0.95;

/// Values in order, none of them "not a number".
pub(crate) struct Sorted(Vec<f64>);

impl Sorted {
    pub(crate) fn new(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn median(&self) -> Option<f64> {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => None,
            length if length.is_multiple_of(2) => Some(f64::midpoint(self.0[middle - 1], self.0[middle])),
            _ => Some(self.0[middle]),
        }
    }

    /// The least and the greatest.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        self.0.first().copied().zip(self.0.last().copied())
    }

    /// The interval between two of the values that holds the median of what
    /// they were drawn from with a probability of 95 % or a little more,
    /// whatever that looks like: the number of values below the true median is
    /// binomial with 1/2 (order statistics; the sign test turned round). None
    /// if there are fewer than the 6 values that it takes.
    pub(crate) fn interval(&self) -> Option<(f64, f64)> {
        let cut = cut_off(self.0.len())?;
        Some((self.0[cut], self.0[self.0.len() - 1 - cut]))
    }
}

/// How many values at each end can be left out.
fn cut_off(count: usize) -> Option<usize> {
    // The probability that exactly so many are below the median, and its sum.
    let mut exactly = 0.5_f64.powi(i32::try_from(count).ok()?);
    let mut at_most = exactly;
    let mut cut = None;
    for below in 0..count / 2 {
        if 2.0 * at_most > 1.0 - CONFIDENCE {
            break;
        }
        cut = Some(below);
        exactly *= (count - below) as f64 / (below + 1) as f64;
        at_most += exactly;
    }
    cut
}

#[cfg(test)]
mod tests {
    // Paths in full: in a bench without libtest's harness nothing here is used.
    #[test]
    fn cut_offs_are_those_of_the_sign_tests_tables() {
        let found = [0, 1, 5, 6, 8, 9, 11, 12, 15, 20, 25].map(super::cut_off);
        let known = [None, None, None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(3), Some(5), Some(7)];
        assert_eq!(found, known);
    }

    #[test]
    fn fifteen_values() {
        let sorted = super::Sorted::new((1..=15).rev().map(f64::from));
        assert_eq!(sorted.median(), Some(8.0));
        assert_eq!(sorted.range(), Some((1.0, 15.0)));
        assert_eq!(sorted.interval(), Some((4.0, 12.0)));
    }

    #[test]
    fn few_values_and_none() {
        let sorted = super::Sorted::new([4.0, 1.0].into_iter());
        assert_eq!((sorted.median(), sorted.interval()), (Some(2.5), None));
        let none = super::Sorted::new(std::iter::once(f64::NAN));
        assert_eq!((none.median(), none.range(), none.interval()), (None, None, None));
    }
}
