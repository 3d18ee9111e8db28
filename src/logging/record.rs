//! One event, taken out of its thread.

use std::{
    fmt::{self, Write},
    time::SystemTime,
};

use tracing::{
    Level,
    field::{Field, Visit},
};

/// Most bytes of text in one record: message and values together.
pub(super) const MAX_TEXT: usize = 16 * 1024;

/// One line of the log.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) time: SystemTime,
    pub(super) level: Level,
    /// The module that logs.
    pub(super) target: &'static str,
    /// Source file and line.
    pub(super) source: Option<(&'static str, u32)>,
    pub(super) message: String,
    /// Those of the spans around it, then its own.
    pub(super) fields: Vec<(&'static str, Value)>,
}

/// Value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Unsigned(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Bool(value) => value.fmt(f),
        }
    }
}

/// Gathers message and fields, [`MAX_TEXT`] bytes of text at most.
#[derive(Debug)]
pub(super) struct Gather {
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, Value)>,
    left: usize,
}

impl Default for Gather {
    fn default() -> Self {
        Self { message: String::new(), fields: Vec::new(), left: MAX_TEXT }
    }
}

impl Gather {
    /// Fields of the spans around the event.
    pub(super) fn extend(&mut self, fields: &[(&'static str, Value)]) {
        for (name, value) in fields {
            let value = match value {
                Value::Text(text) => Value::Text(self.bounded(format_args!("{text}"))),
                other => other.clone(),
            };
            self.fields.push((name, value));
        }
    }

    fn bounded(&mut self, text: fmt::Arguments<'_>) -> String {
        let mut bounded = Bounded { text: String::new(), left: self.left };
        if bounded.write_fmt(text).is_err() {
            bounded.text.push('…');
        }
        self.left = bounded.left;
        bounded.text
    }

    fn text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        let text = self.bounded(text);
        if field.name() == "message" {
            self.message = text;
        } else {
            self.fields.push((field.name(), Value::Text(text)));
        }
    }
}

impl Visit for Gather {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), Value::Integer(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), Value::Unsigned(value)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.fields.push((field.name(), Value::Float(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), Value::Bool(value)));
    }
}

struct Bounded {
    text: String,
    left: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.left {
            self.left -= text.len();
            self.text.push_str(text);
            return Ok(());
        }
        self.text.push_str(cut(text, self.left));
        self.left = 0;
        Err(fmt::Error)
    }
}

/// At most so many bytes of a text, in whole characters.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
