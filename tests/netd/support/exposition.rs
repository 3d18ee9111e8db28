//! What `/metrics` says.

use std::collections::BTreeMap;

/// A page, read.
#[derive(Debug, Clone)]
pub(crate) struct Exposition {
    pub(crate) text: String,
    pub(crate) samples: Vec<Sample>,
    /// Kinds by family.
    pub(crate) kinds: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Exposition {
    /// Reads the text format; panics with the line that is none of it.
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        let (mut samples, mut kinds) = (Vec::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (family, kind) = kind.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                kinds.insert(family.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                samples.push(sample(line).unwrap_or_else(|| panic!("no sample: {line}")));
            }
        }
        Self { text: text.to_owned(), samples, kinds }
    }

    /// Sum over all samples of this name with these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// The one sample of this name with these labels.
    #[track_caller]
    pub(crate) fn one(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found: Vec<_> = self.matching(name, labels).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}\n{}", self.text);
        found[0].value
    }

    fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a Sample> {
        let fits = |sample: &Sample| {
            labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|found| found == value))
        };
        self.samples.iter().filter(move |sample| sample.name == name && fits(sample))
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = head.split_once('{') else {
        return Some(Sample { name: head.to_owned(), labels: BTreeMap::new(), value });
    };
    let mut rest = labels.strip_suffix('}')?;
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        labels.insert(label.to_owned(), value.to_owned());
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some(Sample { name: name.to_owned(), labels, value })
}
