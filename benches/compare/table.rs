//! The results: a line of JSON for each measurement, a table for each case.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{statistics::Sorted, workload::Figure};

/// The way that others are compared with.
const BASE: &str = "netd";

/// Figures that are only recorded, not shown.
const RECORDED: &[&str] = &["of it system %", "longest us"];

/// Columns: the last three are of the ratios to [`BASE`].
const HEAD: [&str; 7] = ["figure", "way", "median", "min .. max", "x netd", "95 % of that", "min .. max"];

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
    ways: Vec<String>,
    /// Values by round, of each figure and way.
    values: BTreeMap<(&'static str, String), BTreeMap<usize, f64>>,
}

impl Table {
    pub(crate) fn add(&mut self, round: usize, way: &str, figures: &[Figure]) {
        if figures.len() > self.figures.len() {
            self.figures = figures.iter().map(|(name, _)| *name).collect();
        }
        for &(figure, value) in figures {
            self.values.entry((figure, way.to_owned())).or_default().insert(round, value);
        }
    }

    /// The order of the rows of each figure.
    pub(crate) fn order(&mut self, ways: impl IntoIterator<Item = String>) {
        self.ways = ways.into_iter().collect();
    }

    /// A table in Markdown that can be read as text.
    pub(crate) fn text(&self) -> String {
        let mut rows = vec![HEAD.map(str::to_owned)];
        for &figure in self.figures.iter().filter(|figure| self.is_shown(figure)) {
            for way in &self.ways {
                rows.extend(self.row(figure, way));
            }
        }
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: [usize; 7] = std::array::from_fn(width);
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

    fn of(&self, figure: &'static str, way: &str) -> Option<&BTreeMap<usize, f64>> {
        self.values.get(&(figure, way.to_owned()))
    }

    /// Failures of a workload in which none is expected only if there was one.
    fn is_shown(&self, figure: &'static str) -> bool {
        let failed =
            |way: &String| self.of(figure, way).is_some_and(|values| values.values().any(|&value| value != 0.0));
        !RECORDED.contains(&figure) && (figure != FAILURES || self.ways.iter().any(failed))
    }

    fn row(&self, figure: &'static str, way: &str) -> Option<[String; 7]> {
        let values = self.of(figure, way)?;
        let all = Sorted::new(values.values().copied());
        let base = self.of(figure, BASE).filter(|_| way != BASE);
        // Of the same round: what changes on the machine meanwhile is not in it.
        let ratios = Sorted::new(values.iter().filter_map(|(round, value)| {
            let base = *base?.get(round)?;
            (base > 0.0).then_some(value / base)
        }));
        let range = all.range().map(|(min, max)| format!("{} .. {}", number(min), number(max)));
        let times = ratios.median().map(|ratio| format!("{ratio:.2}"));
        let between = |(least, most)| format!("{least:.2} .. {most:.2}");
        Some([
            figure.to_owned(),
            way.to_owned(),
            all.median().map(number).unwrap_or_default(),
            range.unwrap_or_default(),
            times.unwrap_or_default(),
            ratios.interval().map(between).unwrap_or_default(),
            ratios.range().map(between).unwrap_or_default(),
        ])
    }
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
