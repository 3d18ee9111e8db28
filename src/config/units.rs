//! Durations and sizes as people write them.

use std::{fmt::Write as _, str::FromStr as _, time::Duration};

use bytesize::ByteSize;

const MAX_LENGTH: usize = 64;
const MAX_DIGITS: usize = 10;

/// Reads `30s`, `1h30m`, `250ms`.
///
/// # Errors
/// What is wrong and what would be right, in one sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    // Far from the ends of u64, where humantime's sums would overflow.
    let too_long = text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > MAX_DIGITS);
    if text.len() > MAX_LENGTH || too_long {
        return Err("the duration has too many digits; write it with larger units, as in `1h30m`".to_owned());
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("the duration `{text}` has no unit: write `{text}s` for seconds"));
    }
    // `5M` would be five months, which nobody means.
    let read = if text.contains('M') { None } else { humantime::parse_duration(text).ok() };
    read.ok_or_else(|| {
        let text = text.escape_debug();
        format!("`{text}` is no duration; write a number with a unit (ms, s, m, h, d), as in `30s` or `1h30m`")
    })
}

/// Writes a duration so that [`parse_duration`] gives it back: `1h30m`.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let nanos = duration.subsec_nanos();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(nanos / 1_000_000), "ms"),
        (u64::from(nanos / 1000 % 1000), "us"),
        (u64::from(nanos % 1000), "ns"),
    ];
    let mut text = String::new();
    for (number, unit) in parts.into_iter().filter(|(number, _)| *number > 0) {
        let _ = write!(text, "{number}{unit}");
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Reads `64KiB`, `1MB`, `65536`: KiB and MiB are powers of 1024, kB and MB
/// powers of 1000.
///
/// # Errors
/// What is wrong and what would be right, in one sentence.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let size = if text.len() <= MAX_LENGTH { ByteSize::from_str(text).ok() } else { None };
    size.map(|size| size.as_u64()).ok_or_else(|| {
        let shown: String = text.chars().take(MAX_LENGTH).collect();
        format!("`{}` is no size; write bytes as a number, or with a unit: `64KiB`, `1MB`", shown.escape_debug())
    })
}

/// Writes a size so that [`parse_size`] gives it back: `64KiB`.
pub fn format_size(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_durations() {
        for (text, millis) in [
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1h 1m", 3_660_000),
            ("7d", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn helps_with_durations() {
        assert_eq!(parse_duration("30").unwrap_err(), "the duration `30` has no unit: write `30s` for seconds");
        for text in ["", "s", "30 parsecs", "-1s", "1.s", "half an hour", "5M"] {
            assert!(parse_duration(text).unwrap_err().contains("is no duration"), "{text}");
        }
        for text in ["18446744073709551615s 1000ms".to_owned(), "9".repeat(100), "1s".repeat(100)] {
            assert!(parse_duration(&text).unwrap_err().contains("too many digits"), "{text}");
        }
    }

    #[test]
    fn writes_durations() {
        for (millis, text) in
            [(0, "0s"), (5_400_000, "1h30m"), (250, "250ms"), (604_800_000, "7d"), (61_001, "1m1s1ms")]
        {
            assert_eq!(format_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn reads_sizes() {
        for (text, bytes) in
            [("64KiB", 65_536), ("1MB", 1_000_000), ("4096", 4096), ("1 MiB", 1_048_576), ("1.5KiB", 1536)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "KiB", "-1", "1 furlong", "1.2.3MB", "64KiB!"] {
            assert!(parse_size(text).unwrap_err().contains("is no size"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_reads_the_same(seconds in 0..100_000_000u64, nanos in 0..1_000_000_000u32) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn a_written_size_reads_the_same(bytes: u64) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_survived(text in "[0-9 .a-zµ-]{0,70}|.{0,30}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
