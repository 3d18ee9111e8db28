//! `[access_log]`: which connections leave a line, and where.

use std::{fmt, path::PathBuf};

use toml::de::DeValue;

use crate::config::{
    reader::{Reader, Section, Value},
    values::{Wrong, choice, path, quote},
};

pub(super) const ACCESS_LOG_KEYS: &[&str] = &["target", "sample", "only", "format"];

/// One line for each connection that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Destination; `Off` by default.
    pub target: AccessTarget,
    /// Share of connections that leave a line.
    pub sample: Sample,
    /// Which of these.
    pub only: AccessOnly,
}

impl AccessLog {
    /// No access log.
    pub const OFF: Self = Self { target: AccessTarget::Off, sample: Sample::WHOLE, only: AccessOnly::All };
}

/// Destination of the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessTarget {
    /// None.
    Off,
    /// Standard error.
    Stderr,
    /// The systemd journal, identifier `netd-access`.
    Journal,
    /// This file, opened anew on SIGUSR1.
    File(PathBuf),
}

impl fmt::Display for AccessTarget {
    /// The words of the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Stderr => f.write_str("stderr"),
            Self::Journal => f.write_str("journal"),
            Self::File(path) => write!(f, "file:{}", path.to_string_lossy()),
        }
    }
}

/// A share of connections: 0.000001 to 1, kept in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample(u32);

impl Sample {
    /// All of them.
    pub const WHOLE: Self = Self(1_000_000);

    /// `None` unless there are 1 to 1,000,000 millionths.
    pub fn from_millionths(millionths: u32) -> Option<Self> {
        (1..=1_000_000).contains(&millionths).then_some(Self(millionths))
    }

    /// 1 to 1,000,000.
    pub fn millionths(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Sample {
    /// As a fraction: `0.01`, `1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f64::from(self.0) / 1e6).fmt(f)
    }
}

/// Which connections leave a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessOnly {
    /// All. The default.
    #[default]
    All,
    /// Those that did not end by both sides having said all they had to say.
    Failures,
}

impl AccessOnly {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::All, Self::Failures];

    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Failures => "failures",
        }
    }
}

/// Reads the section.
pub(super) fn access_log(reader: &mut Reader<'_>, section: &Section<'_>) -> AccessLog {
    let off = AccessLog::OFF;
    let target = section.optional(reader, "target", off.target, |reader, value| reader.parsed(value, target));
    let share = section.optional(reader, "sample", off.sample, sample);
    let only = section.optional(reader, "only", off.only, |reader, value| {
        reader.parsed(value, |text| choice(text, &AccessOnly::ALL.map(|word| (word.as_str(), word))))
    });
    section.optional(reader, "format", (), |reader, value| reader.parsed(value, |text| choice(text, &[("json", ())])));
    AccessLog { target, sample: share, only }
}

fn target(text: &str) -> Result<AccessTarget, Wrong> {
    if let Some(file) = text.strip_prefix("file:") {
        return path(file).map(AccessTarget::File);
    }
    if text.starts_with('/') {
        let right = format!("to log to a file write `file:{text}`");
        return Err(Wrong::new(format!("unknown value {}", quote(text)), right));
    }
    let words = [("off", AccessTarget::Off), ("stderr", AccessTarget::Stderr), ("journal", AccessTarget::Journal)];
    choice(text, &words)
        .map_err(|wrong| Wrong { help: wrong.help.map(|help| format!("{help}, or `file:/PATH`")), ..wrong })
}

fn sample(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Sample> {
    const RIGHT: &str = "write a share from 0.000001 to 1, as in 0.01 for one connection in a hundred";
    let number = match value.node {
        DeValue::Float(number) => number.as_str().replace('_', ""),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        DeValue::String(_) => reader.text(value)?.trim().to_owned(),
        _ => return reader.expected(value, "a share", RIGHT),
    };
    let millionths = number.parse::<f64>().map_or(f64::NAN, |share| (share * 1e6).round());
    // The cast saturates, and makes 0 of what is no number.
    let read = Sample::from_millionths(millionths as u32);
    if read.is_none() {
        reader.wrong(value, Wrong::new(format!("{} is out of range", quote(&number)), RIGHT));
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn read(keys: &str) -> Result<AccessLog, String> {
        let config =
            parse("x", &format!("[access_log]\n{keys}\n"), &|name| (name == "SHARE").then(|| "0.5".to_owned()));
        config.map(|config| config.access_log).map_err(|errors| errors.to_string())
    }

    #[test]
    fn off_unless_a_target_is_named() {
        assert_eq!(read("").unwrap(), AccessLog::OFF);
        assert_eq!(read("target = \"journal\"").unwrap().target, AccessTarget::Journal);
        assert_eq!(read("target = \"file:/a b\"").unwrap().target, AccessTarget::File("/a b".into()));
        for (wrong, told) in [("/var/log/x", "file:/var/log/x"), ("syslog", "`stderr`"), ("file:x", "not absolute")] {
            let error = read(&format!("target = {wrong:?}")).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_share_is_a_fraction() {
        let share = |text: &str| read(&format!("sample = {text}")).map(|log| log.sample.millionths());
        for (text, millionths) in [
            ("1", 1_000_000),
            ("1.0", 1_000_000),
            ("0.01", 10_000),
            ("1e-6", 1),
            ("0.000_001", 1),
            ("\"${SHARE}\"", 500_000),
        ] {
            assert_eq!(share(text), Ok(millionths), "{text}");
        }
        for text in ["0", "0.0", "-0.1", "1.1", "2", "nan", "inf", "1e-7", "\"much\""] {
            assert!(share(text).unwrap_err().contains("is out of range"), "{text}");
        }
        assert!(share("true").unwrap_err().contains("must be a share"));
        for millionths in [1, 10_000, 333_333, 1_000_000] {
            let sample = Sample::from_millionths(millionths).unwrap();
            assert_eq!(share(&sample.to_string()), Ok(millionths), "{sample}");
        }
    }

    #[test]
    fn words() {
        assert_eq!(read("only = \"failures\"\nformat = \"json\"").unwrap().only, AccessOnly::Failures);
        assert!(read("only = \"failure\"").unwrap_err().contains("did you mean `failures`?"));
        assert!(read("format = \"text\"").unwrap_err().contains("`json`"));
    }
}
