//! The results: a line of JSON for each measurement, a table for each case.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::workload::Figure;

/// The way that others are compared with.
const BASE: &str = "netd";

/// Figures that are only recorded, not shown.
const RECORDED: &[&str] = &["of it system %", "longest us"];

/// The figure that is no news while it is 0.
pub(crate) const FAILURES: &str = "failures";

/// The file of measurements, one a line.
pub(crate) struct Record {
    file: File,
    pub(crate) path: PathBuf,
}

impl Record {
    /// A new file for this run.
    pub(crate) fn create(run: u64) -> io::Result<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/compare");
        fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{run}.jsonl"));
        Ok(Self { file: File::create(&path)?, path })
    }

    pub(crate) fn add(&mut self, case: &str, round: usize, way: &str, figures: &[Figure]) -> io::Result<()> {
        let figures: BTreeMap<_, _> = figures.iter().copied().collect();
        writeln!(self.file, "{}", json!({ "case": case, "round": round, "way": way, "figures": figures }))
    }
}

/// The measurements of one case.
#[derive(Default)]
pub(crate) struct Table {
    /// The rows: as the way with the most of them has them.
    figures: Vec<&'static str>,
    ways: Vec<&'static str>,
    /// Values by round.
    values: BTreeMap<(&'static str, &'static str), BTreeMap<usize, f64>>,
}

impl Table {
    pub(crate) fn add(&mut self, round: usize, way: &'static str, figures: &[Figure]) {
        if figures.len() > self.figures.len() {
            self.figures = figures.iter().map(|(name, _)| *name).collect();
        }
        for &(figure, value) in figures {
            self.values.entry((figure, way)).or_default().insert(round, value);
        }
    }

    /// The order of the rows of each figure.
    pub(crate) fn order(&mut self, ways: impl IntoIterator<Item = &'static str>) {
        self.ways = ways.into_iter().collect();
    }

    /// A table in Markdown that can be read as text.
    pub(crate) fn text(&self) -> String {
        let mut rows = vec![["figure", "way", "median", "min .. max", "x netd", "min .. max"].map(str::to_owned)];
        for &figure in self.figures.iter().filter(|figure| self.is_shown(figure)) {
            for &way in &self.ways {
                rows.extend(self.row(figure, way));
            }
        }
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        let mut text = String::new();
        for (index, row) in rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                let _ = match column {
                    0 | 1 => write!(text, "| {cell:<width$} "),
                    _ => write!(text, "| {cell:>width$} "),
                };
            }
            text.push_str("|\n");
            if index == 0 {
                let rule = |(column, width): (usize, &usize)| match column {
                    0 | 1 => format!("| {} ", "-".repeat(*width)),
                    _ => format!("| {}: ", "-".repeat(width - 1)),
                };
                text.extend(widths.iter().enumerate().map(rule));
                text.push_str("|\n");
            }
        }
        text
    }

    /// Failures of a workload in which none is expected only if there was one.
    fn is_shown(&self, figure: &'static str) -> bool {
        let failed = |way: &&'static str| {
            self.values.get(&(figure, *way)).is_some_and(|values| values.values().any(|&value| value != 0.0))
        };
        !RECORDED.contains(&figure) && (figure != FAILURES || self.ways.iter().any(failed))
    }

    fn row(&self, figure: &'static str, way: &'static str) -> Option<[String; 6]> {
        let values = self.values.get(&(figure, way))?;
        let [median, min, max] = spread(values.values().copied());
        let base = self.values.get(&(figure, BASE)).filter(|_| way != BASE);
        // Of the same round: what changes on the machine meanwhile is not in it.
        let ratios = values.iter().filter_map(|(round, value)| {
            let base = *base?.get(round)?;
            (base > 0.0).then_some(value / base)
        });
        let [ratio, least, most] = spread(ratios);
        let (times, interval) = match ratio.is_nan() {
            true => (String::new(), String::new()),
            false => (format!("{ratio:.2}"), format!("{least:.2} .. {most:.2}")),
        };
        let range = format!("{} .. {}", number(min), number(max));
        Some([figure.to_owned(), way.to_owned(), number(median), range, times, interval])
    }
}

/// Median, least and greatest; not a number if there is none.
fn spread(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else { return [f64::NAN; 3] };
    let middle = sorted.len() / 2;
    let median = match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    };
    [median, min, max]
}

/// Three significant digits, or all of a whole number.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
