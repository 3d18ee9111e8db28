//! "Did you mean": the nearest of some known words.

/// Longer words get no suggestion: the work is quadratic in their length.
const MAX_LENGTH: usize = 64;

/// The candidate nearest to `word`, if it is near enough to be a slip of the
/// keyboard: one edit for short words, a third of the letters for longer ones.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if word.len() > MAX_LENGTH {
        return None;
    }
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let limit = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= MAX_LENGTH && candidate.len().abs_diff(word.len()) <= limit)
        .map(|candidate| (distance(&word, &candidate.to_lowercase().chars().collect::<Vec<_>>()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment: insertions, deletions, substitutions and swaps of
/// neighbours, each counting one.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substituted = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substituted.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = above;
        above = row;
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_slips_of_the_keyboard() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        for (a, b, expected) in
            [("", "", 0), ("a", "", 1), ("adress", "address", 1), ("lsitener", "listener", 1), ("abc", "xyz", 3)]
        {
            assert_eq!(distance(&chars(a), &chars(b)), expected, "{a} {b}");
        }
    }

    #[test]
    fn suggests_only_what_is_near() {
        let keys = ["name", "address", "protocol", "pool"];
        assert_eq!(nearest("adress", keys), Some("address"));
        assert_eq!(nearest("Pool", keys), Some("pool"));
        assert_eq!(nearest("poll", keys), Some("pool"));
        assert_eq!(nearest("weight", keys), None);
        assert_eq!(nearest(&"address".repeat(20), keys), None);
    }
}
