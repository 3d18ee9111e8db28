//! `netctl connections`, page by page as the pages come.

use crate::pb;

use super::{
    Look,
    grid::{self, Column, Grid},
    units,
};

const COLUMNS: [Column; 10] = [
    Column::Text("ID"),
    Column::Figure("WORKER"),
    Column::Text("LISTENER"),
    Column::Text("SOURCE"),
    Column::Text("ENDPOINT"),
    Column::Text("STATE"),
    Column::Figure("AGE"),
    Column::Figure("IDLE"),
    Column::Figure("BYTES IN"),
    Column::Figure("BYTES OUT"),
];

/// Columns that a narrow terminal does without, the least missed first. A cell
/// is never broken: ids and addresses are there to be copied.
const DISPENSABLE: [usize; 5] = [1, 2, 8, 9, 7];

/// Blanks between two columns.
const GAP: u16 = 2;

/// A table that grows: later pages keep the columns of the earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// Indices of the columns shown; empty before the first page.
    shown: Vec<usize>,
    /// Their widths so far.
    widths: Vec<u16>,
}

impl Pages {
    /// Whether no page has come.
    pub(crate) fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// The next page; the first has the headings.
    pub(crate) fn page(&mut self, connections: &[pb::Connection], look: Look) -> String {
        let terminal = look.width;
        let look = Look { width: None, ..look };
        let rows: Vec<_> = connections.iter().map(|connection| row(connection, look)).collect();
        let headings = self.is_empty();
        if headings {
            let all: Vec<usize> = (0..COLUMNS.len()).collect();
            self.shown = fitting(&grid(&all, &rows, look).widths(), terminal);
        }
        let mut grid = grid(&self.shown, &rows, look);
        let widths = grid.widths();
        self.widths.resize(widths.len(), 0);
        grid.at_least(&self.widths);
        self.widths = widths.iter().zip(&self.widths).map(|(new, old)| *new.max(old)).collect();
        let text = grid.render();
        match text.split_once('\n') {
            Some((_headings, rows)) if !headings => rows.to_owned(),
            _ => text,
        }
    }

    /// What a narrow terminal does not get to see.
    pub(crate) fn hidden(&self) -> Option<String> {
        if self.is_empty() || self.shown.len() == COLUMNS.len() {
            return None;
        }
        let hidden = (0..COLUMNS.len()).filter(|index| !self.shown.contains(index));
        let hidden: Vec<&str> = hidden.map(|index| COLUMNS[index].heading()).collect();
        Some(format!("Too narrow for {}: a wider terminal, a pipe or -o json shows all", hidden.join(", ")))
    }
}

fn grid(shown: &[usize], rows: &[[comfy_table::Cell; 10]], look: Look) -> Grid {
    let columns: Vec<Column> = shown.iter().map(|index| COLUMNS[*index]).collect();
    let mut grid = Grid::new(&columns, look);
    for row in rows {
        grid.styled_row(shown.iter().map(|index| row[*index].clone()));
    }
    grid
}

/// The columns that fit, as far as there are columns to leave out.
fn fitting(widths: &[u16], terminal: Option<u16>) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..widths.len()).collect();
    let Some(terminal) = terminal else { return shown };
    for dispensable in DISPENSABLE {
        let needed: u16 = shown.iter().fold(0, |sum, index| sum.saturating_add(widths[*index] + GAP));
        // The last column needs no gap behind it.
        if needed <= terminal.saturating_add(GAP) {
            break;
        }
        shown.retain(|index| *index != dispensable);
    }
    shown
}

fn row(connection: &pb::Connection, look: Look) -> [comfy_table::Cell; 10] {
    let age = units::time(connection.since.as_ref()).map(|since| units::duration(units::age(since, look.now)));
    let idle = units::span(connection.idle.as_ref()).map(units::duration);
    [
        grid::text(&connection.id),
        grid::text(connection.worker.to_string()),
        grid::text(&connection.listener),
        grid::text(&connection.source),
        grid::text(endpoint(connection)),
        grid::state(&connection.state),
        grid::text(age.unwrap_or_default()),
        grid::text(idle.unwrap_or_default()),
        grid::text(units::bytes(connection.bytes_from_downstream)),
        grid::text(units::bytes(connection.bytes_to_downstream)),
    ]
}

fn endpoint(connection: &pb::Connection) -> String {
    match (connection.pool.as_str(), connection.endpoint.as_str()) {
        ("", "") => "-".to_owned(),
        ("", endpoint) => endpoint.to_owned(),
        (pool, "") => format!("{pool}/-"),
        (pool, endpoint) => format!("{pool}/{endpoint}"),
    }
}
