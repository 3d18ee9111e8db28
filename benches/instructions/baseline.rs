//! The counts kept in the tree, and how others compare with them.

use std::{collections::BTreeMap, fmt};

const HEAD: &str = "# Instructions of each piece. Made by: cargo bench --bench instructions -- --renew\n";

/// With the same tools a count differs only if the code does, but for a few
/// instructions of the C library.
const TOLERANCE: f64 = 0.03;
/// Another compiler makes other code of the same source.
const TOLERANCE_OF_OTHER_TOOLS: f64 = 0.30;
/// Instructions that are never worth a word.
const SLACK: f64 = 1.0;

/// What the counts depend on besides the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tools {
    pub(crate) rustc: String,
    pub(crate) libc: String,
    pub(crate) valgrind: String,
}

/// Counts, and what they were made with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Baseline {
    pub(crate) tools: Tools,
    pub(crate) counts: BTreeMap<String, f64>,
}

/// How a count compares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    Same {
        now: f64,
        before: f64,
    },
    Better {
        now: f64,
        before: f64,
    },
    Worse {
        now: f64,
        before: f64,
    },
    /// Not in the baseline.
    New {
        now: f64,
    },
    /// In the baseline alone.
    Gone {
        before: f64,
    },
}

impl fmt::Display for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.rustc, self.libc, self.valgrind)
    }
}

impl Baseline {
    /// Reads what [`render`](Self::render) has written.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) = line.split_once(" = ").ok_or_else(|| format!("{line:?} is not `name = value`"))?;
            lines.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        let mut tool = |name: &str| lines.remove(name).ok_or_else(|| format!("it does not name its {name}"));
        let tools = Tools { rustc: tool("rustc")?, libc: tool("libc")?, valgrind: tool("valgrind")? };
        let count = |(name, value): (String, String)| match value.parse() {
            Ok(count) => Ok((name, count)),
            Err(error) => Err(format!("{name}: {value:?}: {error}")),
        };
        Ok(Self { tools, counts: lines.into_iter().map(count).collect::<Result<_, _>>()? })
    }

    /// The text of the file.
    pub(crate) fn render(&self) -> String {
        let Self { tools: Tools { rustc, libc, valgrind }, counts } = self;
        let counts: String = counts.iter().map(|(name, count)| format!("{name} = {count:.1}\n")).collect();
        format!("{HEAD}rustc = {rustc}\nlibc = {libc}\nvalgrind = {valgrind}\n\n{counts}")
    }

    /// The share by which a count may grow.
    pub(crate) fn tolerance(&self, tools: &Tools) -> f64 {
        if self.tools == *tools { TOLERANCE } else { TOLERANCE_OF_OTHER_TOOLS }
    }

    /// Every piece of either side.
    pub(crate) fn verdicts(&self, counts: &BTreeMap<String, f64>, tolerance: f64) -> Vec<(String, Verdict)> {
        let gone = self.counts.iter().filter(|(name, _)| !counts.contains_key(*name));
        let gone = gone.map(|(name, &before)| (name.clone(), Verdict::Gone { before }));
        let judged = counts.iter().map(|(name, &now)| {
            let verdict = match self.counts.get(name) {
                None => Verdict::New { now },
                Some(&before) if now > before * (1.0 + tolerance) + SLACK => Verdict::Worse { now, before },
                Some(&before) if now < before * (1.0 - tolerance) - SLACK => Verdict::Better { now, before },
                Some(&before) => Verdict::Same { now, before },
            };
            (name.clone(), verdict)
        });
        judged.chain(gone).collect()
    }
}

impl Verdict {
    pub(crate) fn is_failure(self) -> bool {
        !matches!(self, Self::Same { .. } | Self::Better { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, now, before) = match *self {
            Self::Same { now, before } => ("", now, before),
            Self::Better { now, before } => ("BETTER", now, before),
            Self::Worse { now, before } => ("WORSE", now, before),
            Self::New { now } => return write!(f, "{now:12.1}  NOT IN THE BASELINE"),
            Self::Gone { before } => return write!(f, "{:12}  GONE, {before:.1} in the baseline", ""),
        };
        let percent = if before > 0.0 { 100.0 * (now - before) / before } else { 0.0 };
        write!(f, "{now:12.1}  {percent:+6.1} %  {word}")
    }
}
