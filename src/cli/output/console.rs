//! Where the output goes.

use std::{
    io::{self, Write},
    time::SystemTime,
};

use serde_json::Value;

use crate::cli::exit::Failure;

use super::{json::ToJson, units};

/// What a formatter has to know of the reader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Columns of the terminal; `None`: no terminal, lines may be long.
    pub(crate) width: Option<u16>,
    pub(crate) colour: bool,
    /// Now, for `3m ago`.
    pub(crate) now: SystemTime,
}

/// Standard output and error, and in which shape they want things.
pub(crate) struct Console<'c> {
    pub(crate) out: &'c mut dyn Write,
    pub(crate) err: &'c mut dyn Write,
    pub(crate) json: bool,
    pub(crate) width: Option<u16>,
    pub(crate) colour: bool,
    pub(crate) clock: fn() -> SystemTime,
    /// Nobody reads the output any more, as behind `| head`. What is written
    /// then is dropped: the command still does its work and ends with its own
    /// status. Endless listings may stop.
    pub(crate) reader_gone: bool,
}

impl Console<'_> {
    pub(crate) fn look(&self) -> Look {
        Look { width: self.width, colour: self.colour, now: (self.clock)() }
    }

    /// One whole answer: as JSON, or as the text that `format` makes of it.
    pub(crate) fn answer(&mut self, answer: &dyn ToJson, format: impl FnOnce(Look) -> String) -> Result<(), Failure> {
        if self.json { self.json(&answer.to_json()) } else { self.text(&format(self.look())) }
    }

    /// Text that ends its own lines, free of control characters by its making.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        if self.reader_gone {
            return Ok(());
        }
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.reader_gone = true,
            outcome => outcome.map_err(Failure::Output)?,
        }
        Ok(())
    }

    /// One line.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.text(&format!("{}\n", units::printable(line)))
    }

    /// One line for people, beside the output proper; nothing depends on it.
    pub(crate) fn hint(&mut self, line: &str) {
        if !self.json {
            let _ = writeln!(self.err, "{}", units::printable(line));
        }
    }

    /// One JSON document, indented.
    pub(crate) fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.text(&format!("{value:#}\n"))
    }

    /// One line of a JSON stream.
    pub(crate) fn json_line(&mut self, value: &Value) -> Result<(), Failure> {
        self.text(&format!("{value}\n"))
    }

    /// Puts a line over the one before (terminals only).
    pub(crate) fn rewrite(&mut self, line: &str) -> Result<(), Failure> {
        let width = usize::from(self.width.unwrap_or(80)).saturating_sub(1);
        let line: String = units::printable(line).chars().take(width).collect();
        self.text(&format!("\r\x1b[K{line}"))
    }
}
