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

/// A table that grows: later pages keep the columns of the earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    widths: Vec<u16>,
}

impl Pages {
    /// Whether no page has come.
    pub(crate) fn is_empty(&self) -> bool {
        self.widths.is_empty()
    }

    /// The next page; the first has the headings.
    pub(crate) fn page(&mut self, connections: &[pb::Connection], look: Look) -> String {
        let first = self.is_empty();
        let mut grid = Grid::new(&COLUMNS, look);
        for connection in connections {
            grid.styled_row(row(connection, look));
        }
        grid.at_least(&self.widths);
        let widths = grid.widths();
        self.widths = match first {
            true => widths,
            false => widths.iter().zip(&self.widths).map(|(new, old)| *new.max(old)).collect(),
        };
        let text = grid.render();
        match text.split_once('\n') {
            Some((_headings, rows)) if !first => rows.to_owned(),
            _ => text,
        }
    }
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
