//! Figures, times and texts as people read them.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use bytesize::ByteSize;

use crate::cli::exit::Failure;

/// First second of the year 10000, where RFC 3339 ends.
const RFC_3339_END: i64 = 253_402_300_800;

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 connection`, `1,234 connections`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `512 B`, `1.2 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    ByteSize::b(number).display().iec().to_string()
}

/// The two largest units: `3d 4h`, `4h 12m`, `3m 12s`, `12s`, `1.2s`, `340ms`,
/// `25us`, `0s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit} {small}{small_unit}"),
    };
    match seconds {
        86_400.. => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
        3600.. => two(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        60.. => two(seconds / 60, "m", seconds % 60, "s"),
        10.. => format!("{seconds}s"),
        1.. => match duration.subsec_millis() / 100 {
            0 => format!("{seconds}s"),
            tenths => format!("{seconds}.{tenths}s"),
        },
        0 if duration.is_zero() => "0s".to_owned(),
        0 if duration.as_millis() > 0 => format!("{}ms", duration.as_millis()),
        0 => format!("{}us", duration.as_micros()),
    }
}

/// `3m 12s ago`; `just now` for less than a second, also where the clocks
/// disagree a little.
pub(crate) fn ago(at: SystemTime, now: SystemTime) -> String {
    match age(at, now) {
        since if since < Duration::from_secs(1) => "just now".to_owned(),
        since => format!("{} ago", duration(since)),
    }
}

/// Time passed since `at`, in whole seconds.
pub(crate) fn age(at: SystemTime, now: SystemTime) -> Duration {
    Duration::from_secs(now.duration_since(at).unwrap_or_default().as_secs())
}

/// A point in time of the API; `None` if absent or beyond what RFC 3339 can say.
pub(crate) fn time(timestamp: Option<&prost_types::Timestamp>) -> Option<SystemTime> {
    let timestamp = timestamp.filter(|timestamp| (0..RFC_3339_END).contains(&timestamp.seconds))?;
    SystemTime::try_from(*timestamp).ok()
}

/// A duration of the API; `None` if absent or negative.
pub(crate) fn span(duration: Option<&prost_types::Duration>) -> Option<Duration> {
    Duration::try_from(*duration?).ok()
}

/// A duration for the API.
pub(crate) fn wire_duration(duration: Option<Duration>) -> Result<Option<prost_types::Duration>, Failure> {
    duration
        .map(|duration| {
            prost_types::Duration::try_from(duration)
                .map_err(|_| Failure::Usage(format!("{} is longer than the API can say", self::duration(duration))))
        })
        .transpose()
}

/// Free text as it may be shown on a terminal: names, reasons and errors come
/// from other people and must not steer it. Lines and tabs stay.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(steers) { text.replace(steers, "\u{fffd}").into() } else { text.into() }
}

/// The first line, and how many more there are.
pub(crate) fn first_line(text: &str) -> Cow<'_, str> {
    let text = text.trim_end();
    match text.split_once('\n') {
        None => text.into(),
        Some((first, rest)) => {
            let more = counted(rest.lines().count() as u64, "more line", "more lines");
            format!("{} … ({more})", first.trim_end()).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_have_thousands() {
        for (number, text) in [
            (0, "0"),
            (7, "7"),
            (999, "999"),
            (1000, "1,000"),
            (123_456, "123,456"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "connection", "connections"), "1 connection");
        assert_eq!(counted(0, "connection", "connections"), "0 connections");
    }

    #[test]
    fn bytes_have_binary_units() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_258_291, "1.2 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn durations_have_two_units() {
        for (milliseconds, text) in [
            (0, "0s"),
            (340, "340ms"),
            (1000, "1s"),
            (1290, "1.2s"),
            (12_900, "12s"),
            (60_000, "1m"),
            (192_000, "3m 12s"),
            (3_600_000, "1h"),
            (15_120_000, "4h 12m"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(duration(Duration::from_millis(milliseconds)), text);
        }
        assert_eq!(duration(Duration::from_micros(25)), "25us");
        assert_eq!(duration(Duration::from_nanos(25)), "0us");
    }

    #[test]
    fn ages_are_never_negative() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(ago(now - Duration::from_millis(192_400), now), "3m 12s ago");
        assert_eq!(ago(now, now), "just now");
        assert_eq!(ago(now + Duration::from_secs(5), now), "just now");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\r\u{9b}c"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c");
        assert_eq!(printable("two\n\tlines"), "two\n\tlines");
    }

    #[test]
    fn impossible_times_are_absent() {
        let time_of = |seconds| time(Some(&prost_types::Timestamp { seconds, nanos: 0 }));
        assert_eq!(time_of(0), Some(SystemTime::UNIX_EPOCH));
        assert_eq!(time_of(-1), None);
        assert_eq!(time_of(i64::MAX), None);
        assert_eq!(span(Some(&prost_types::Duration { seconds: -1, nanos: 0 })), None);
    }

    proptest! {
        #[test]
        fn a_count_without_commas_is_the_number(number: u64) {
            prop_assert_eq!(count(number).replace(',', "").parse::<u64>().unwrap(), number);
        }

        #[test]
        fn every_time_that_is_let_through_can_be_written(seconds: i64, nanos: i32) {
            if let Some(time) = time(Some(&prost_types::Timestamp { seconds, nanos })) {
                prop_assert!(humantime::format_rfc3339_millis(time).to_string().ends_with('Z'));
            }
        }
    }
}
