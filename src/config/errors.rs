//! Everything that is wrong with a file, shown where it is wrong.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// Bytes of the text.
    pub span: Range<usize>,
}

/// Everything that is wrong with a text. At least one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    name: String,
    text: String,
    problems: Vec<Problem>,
    dropped: usize,
}

/// A problem as found, before its place is counted out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// Collects problems, a bounded number of them.
#[derive(Debug, Default)]
pub(super) struct Findings {
    kept: Vec<Found>,
    dropped: usize,
}

impl Findings {
    const MAX_KEPT: usize = 1000;

    pub(super) fn push(&mut self, found: Found) {
        if self.is_full() {
            self.dropped += 1;
        } else {
            self.kept.push(found);
        }
    }

    /// What is found now is only counted.
    pub(super) fn is_full(&self) -> bool {
        self.kept.len() >= Self::MAX_KEPT
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

impl Errors {
    /// So many problems are shown; the others are only counted.
    pub const MAX_SHOWN: usize = 50;

    pub(super) fn new(name: &str, text: &str, findings: Findings) -> Self {
        let lines = Lines::new(text);
        let mut problems: Vec<Problem> = findings
            .kept
            .into_iter()
            .map(|found| {
                let span = snap(text, found.span);
                let (line, column) = lines.position(span.start);
                Problem { line, column, message: found.message, help: found.help, span }
            })
            .collect();
        problems.sort_by_key(|problem| (problem.span.start, problem.span.end));
        problems.dedup();
        Self { name: name.to_owned(), text: text.to_owned(), problems, dropped: findings.dropped }
    }

    /// The problems in the order of the text. At most 1000 are kept.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Number of problems, those that were not kept included.
    pub fn count(&self) -> usize {
        self.problems.len() + self.dropped
    }

    /// One line: the first problem, its place, and how many there are.
    pub fn summary(&self) -> String {
        let Some(first) = self.problems.first() else { return self.name.clone() };
        let rank = match self.count() {
            1 => String::new(),
            count => format!(" (the first of {count} errors)"),
        };
        format!("{}:{}:{}: {}{rank}", self.name, first.line, first.column, first.message)
    }

    fn show(&self, problem: &Problem) -> String {
        let excerpt = Excerpt::of(&self.text, &problem.span);
        let mut group = Group::with_title(Level::ERROR.primary_title(problem.message.as_str()));
        let mut snippet = Snippet::source(excerpt.line).line_start(problem.line);
        if excerpt.whole {
            snippet = snippet.path(self.name.as_str());
        } else {
            let origin = Origin::path(self.name.as_str()).line(problem.line).char_column(problem.column);
            group = group.element(origin);
        }
        group = group.element(snippet.annotation(AnnotationKind::Primary.span(excerpt.span)));
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        Renderer::plain().render(&[group])
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().take(Self::MAX_SHOWN).enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            f.write_str(&self.show(problem))?;
        }
        match self.count().saturating_sub(Self::MAX_SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n\nand {more} more"),
        }
    }
}

impl std::error::Error for Errors {}

/// Where the lines of a text begin.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let after_newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(index, _)| index + 1);
        Self { text, starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// Line and column of a byte, both from 1.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let start = self.starts[line - 1];
        let column = self.text.get(start..offset).map_or(1, |before| before.chars().count() + 1);
        (line, column)
    }

    /// Line of a byte, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }
}

/// Moves a span onto borders of characters within the text.
fn snap(text: &str, span: Range<usize>) -> Range<usize> {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

/// The line in which a span begins, and the part of the span to underline.
struct Excerpt<'t> {
    line: &'t str,
    /// Bytes of `line`.
    span: Range<usize>,
    /// Not only the surroundings of the span.
    whole: bool,
}

impl<'t> Excerpt<'t> {
    fn of(text: &'t str, span: &Range<usize>) -> Self {
        const MAX_UNDERLINED: usize = 60;
        const MAX_LINE: usize = 4096;
        const AROUND: usize = 512;
        let start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[span.start..].find('\n').map_or(text.len(), |newline| span.start + newline);
        let line = text[start..end].trim_end_matches('\r');
        let from = (span.start - start).min(line.len());
        let to = (span.end - start).clamp(from, line.len());
        let underlined: usize = line[from..to].chars().take(MAX_UNDERLINED).map(char::len_utf8).sum();
        if line.len() <= MAX_LINE {
            return Self { line, span: from..from + underlined, whole: true };
        }
        let window = snap(line, from.saturating_sub(AROUND)..from + AROUND);
        let from = from - window.start;
        Self { line: &line[window], span: from..from + underlined, whole: false }
    }
}

#[cfg(test)]
mod tests;
