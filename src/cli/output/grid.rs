//! Tables without borders.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width, presets};

use super::{Look, units};

/// A column: its heading and whether it holds figures, which stand to the right.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    Text(&'static str),
    Figure(&'static str),
}

impl Column {
    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Text(heading) | Self::Figure(heading) => heading,
        }
    }
}

/// A table that fits the terminal.
pub(super) struct Grid {
    table: Table,
    colour: bool,
}

impl Grid {
    /// A table with headings.
    pub(super) fn new(columns: &[Column], look: Look) -> Self {
        let mut grid = Self::plain(look);
        let headings = columns.iter().map(|column| {
            let cell = Cell::new(column.heading()).add_attribute(Attribute::Bold);
            if matches!(column, Column::Figure(_)) { cell.set_alignment(CellAlignment::Right) } else { cell }
        });
        grid.table.set_header(headings.collect::<Vec<_>>());
        grid.table.discover_columns();
        for (index, column) in columns.iter().enumerate() {
            if let (Column::Figure(_), Some(column)) = (column, grid.table.column_mut(index)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        grid
    }

    /// A table without headings.
    pub(super) fn plain(look: Look) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).force_no_tty();
        match look.width {
            Some(width) => table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        if look.colour {
            table.enforce_styling();
        }
        Self { table, colour: look.colour }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.styled_row(cells.into_iter().map(text));
    }

    pub(super) fn styled_row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.table.add_row(cells.into_iter().collect::<Vec<_>>());
    }

    /// Widths of the columns' content, to give to [`Grid::at_least`] of another table.
    pub(super) fn widths(&self) -> Vec<u16> {
        self.table.column_max_content_widths()
    }

    /// Makes columns no narrower than those of an earlier table.
    pub(super) fn at_least(&mut self, widths: &[u16]) {
        for (column, width) in self.table.column_iter_mut().zip(widths) {
            // The boundary counts the padding.
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width + 2)));
        }
    }

    /// The table's lines, without blanks at their ends.
    pub(super) fn render(mut self) -> String {
        for column in self.table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let mut text = String::new();
        for line in self.table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        debug_assert!(self.colour || !text.contains('\x1b'));
        text
    }
}

/// A cell of free text.
pub(super) fn text(content: impl AsRef<str>) -> Cell {
    Cell::new(units::printable(content.as_ref()))
}

/// A cell with a word for a state, in the colour of its meaning.
pub(super) fn state(word: &str) -> Cell {
    state_with(word, "")
}

/// As above, with something behind the word.
pub(super) fn state_with(word: &str, more: &str) -> Cell {
    let text = text(format!("{word}{more}"));
    let colour = match word {
        "accepting" | "serving" | "up" | "open" | "ok" => Some(Color::Green),
        "down" | "failing" | "unhealthy" | "ejected" | "stopping" | "late" => Some(Color::Red),
        "paused" | "draining" | "drained" | "stopped" | "removed" | "maintenance" | "starting" | "lame-duck" => {
            Some(Color::Yellow)
        }
        _ => None,
    };
    match colour {
        Some(colour) => text.fg(colour),
        None => text,
    }
}
