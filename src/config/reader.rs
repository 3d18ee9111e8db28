//! Typed getters over the spanned TOML tree. A wrong value is a problem, and
//! reading goes on: the caller gets the default, which nobody will see because
//! a file with problems gives no configuration.

use std::{
    borrow::Cow,
    ops::{Range, RangeInclusive},
    time::Duration,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::config::{
    errors::{Findings, Found},
    substitute::{is_one_reference, substitute},
    suggest::nearest,
    units::{format_size, parse_size},
    values::{Wrong, account, duration, list, octal, quote},
};

/// Where problems are gathered, and what substitution needs.
pub(super) struct Reader<'a> {
    /// The text as written, for finding a substitution inside a value.
    pub(super) source: &'a str,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// Broken lines were left out: what seems to be missing may be there.
    pub(super) damaged: bool,
    pub(super) findings: Findings,
}

/// A value and the key it stands behind.
#[derive(Clone)]
pub(super) struct Value<'t> {
    pub(super) key: &'t str,
    pub(super) key_span: Range<usize>,
    pub(super) node: &'t DeValue<'t>,
    pub(super) span: Range<usize>,
}

/// A table whose keys are known.
pub(super) struct Section<'t> {
    /// As it is called in messages: `[workers]`, `listener `web``.
    pub(super) title: String,
    table: &'t DeTable<'t>,
    pub(super) span: Range<usize>,
    /// Keys that unknown ones seem to mean: told once, not as missing as well.
    misspelt: Vec<&'static str>,
}

/// A number or a boolean, or the text of a value that was one substitution.
enum Scalar<'t> {
    Integer { digits: &'t str, radix: u32 },
    Boolean(bool),
    Text(String),
}

impl Reader<'_> {
    /// Notes a problem at a place of the text.
    pub(super) fn problem(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.findings.push(Found { span, message: message.into(), help: help.into() });
    }

    /// Notes what is wrong with a value.
    pub(super) fn wrong(&mut self, value: &Value<'_>, wrong: Wrong) {
        self.problem(value.span.clone(), format!("`{}`: {}", value.key, wrong.message), wrong.help);
    }

    /// Notes that something is absent, if the text is whole enough to tell.
    pub(super) fn missing(&mut self, span: Range<usize>, message: String, help: String) {
        if !self.damaged {
            self.problem(span, message, help);
        }
    }

    /// "Did you mean", which costs more than all else about a word: not for
    /// problems that are only counted.
    pub(super) fn nearest<'c>(&self, word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
        if self.findings.is_full() { None } else { nearest(word, candidates) }
    }

    /// Text, expanded.
    pub(super) fn text(&mut self, value: &Value<'_>) -> Option<String> {
        match value.node {
            DeValue::String(text) => self.expand(value, text),
            _ => self.expected(value, "a text", r#"write it in quotes, as in "abc""#),
        }
    }

    /// Text that means something.
    pub(super) fn parsed<T>(&mut self, value: &Value<'_>, parse: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        let text = self.text(value)?;
        self.keep(value, parse(&text))
    }

    /// A name or a number of a user or group.
    pub(super) fn account(&mut self, value: &Value<'_>) -> Option<String> {
        let text = match value.node {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            _ => self.text(value)?,
        };
        self.keep(value, account(&text))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, value: &Value<'_>) -> Option<bool> {
        match self.scalar(value)? {
            Some(Scalar::Boolean(flag)) => Some(flag),
            Some(Scalar::Text(text)) => match text.trim() {
                "true" => Some(true),
                "false" => Some(false),
                other => {
                    let message = format!("{} is neither true nor false", quote(other));
                    self.keep(value, Err(Wrong::new(message, "the environment must give `true` or `false`")))
                }
            },
            _ => self.expected(value, "true or false", "write `true` or `false`, without quotes"),
        }
    }

    /// A whole number in a range.
    pub(super) fn integer(&mut self, value: &Value<'_>, range: &RangeInclusive<u64>) -> Option<u64> {
        self.whole(value, range, String::new())
    }

    /// The same where a word may stand, too, which the caller knows.
    pub(super) fn integer_or(&mut self, value: &Value<'_>, range: &RangeInclusive<u64>, word: &str) -> Option<u64> {
        self.whole(value, range, format!(", or {word}"))
    }

    fn whole(&mut self, value: &Value<'_>, range: &RangeInclusive<u64>, or: String) -> Option<u64> {
        let right = format!("write a number from {} to {}", range.start(), range.end());
        let (digits, radix) = match self.scalar(value)? {
            Some(Scalar::Integer { digits, radix }) => (digits.to_owned(), radix),
            Some(Scalar::Text(text)) => (text.trim().to_owned(), 10),
            _ => return self.expected(value, "a whole number", &format!("{right}, without quotes{or}")),
        };
        let right = right + &or;
        let number = i128::from_str_radix(&digits, radix).ok();
        match number.and_then(|number| u64::try_from(number).ok()) {
            Some(number) if range.contains(&number) => Some(number),
            _ if digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') && !digits.is_empty() => {
                self.keep(value, Err(Wrong::new(format!("{} is out of range", quote(&digits)), right)))
            }
            _ if radix != 10 => self.keep(value, Err(Wrong::new("the number is out of range", right))),
            _ => self.keep(value, Err(Wrong::new(format!("{} is no whole number", quote(&digits)), right))),
        }
    }

    /// A number of bytes: `64KiB`, or a bare number.
    pub(super) fn size(&mut self, value: &Value<'_>, range: &RangeInclusive<u64>) -> Option<u64> {
        let text = match value.node {
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(bytes) => bytes.to_string(),
                Err(_) => number.to_string(),
            },
            DeValue::String(text) => self.expand(value, text)?,
            _ => return self.expected(value, "a size", r#"write it as in "64KiB", or bytes as in 65536"#),
        };
        let size = match parse_size(&text) {
            Ok(size) => size,
            Err(message) => return self.keep(value, Err(Wrong { message, help: None })),
        };
        if range.contains(&size) {
            return Some(size);
        }
        let right = format!("write {} to {}", format_size(*range.start()), format_size(*range.end()));
        self.keep(value, Err(Wrong::new(format!("{} is out of range", format_size(size)), right)))
    }

    /// A duration with a unit.
    pub(super) fn duration(&mut self, value: &Value<'_>, range: &RangeInclusive<Duration>) -> Option<Duration> {
        let text = self.duration_text(value)?;
        self.keep(value, duration(&text, range))
    }

    /// A duration with a unit, or `off` (or no time at all) for never.
    pub(super) fn duration_or_off(
        &mut self,
        value: &Value<'_>,
        range: &RangeInclusive<Duration>,
    ) -> Option<Option<Duration>> {
        let text = self.duration_text(value)?;
        if text == "off" || duration(&text, &(Duration::ZERO..=Duration::ZERO)).is_ok() {
            return Some(None);
        }
        let read = duration(&text, range)
            .map_err(|wrong| Wrong { help: wrong.help.map(|help| format!("{help}, or \"off\"")), ..wrong });
        self.keep(value, read).map(Some)
    }

    /// Permission bits: `"0o660"`, or the number 0o660.
    pub(super) fn octal(&mut self, value: &Value<'_>) -> Option<u32> {
        let text = match value.node {
            DeValue::Integer(number) if number.radix() == 8 || number.as_str() == "0" => number.as_str().to_owned(),
            DeValue::Integer(number) => {
                let message = "a file mode must be written in octal";
                let right = match octal(number.as_str()) {
                    Ok(bits) if number.radix() == 10 => format!("write 0o{bits:03o}"),
                    _ => "write it as in 0o660".to_owned(),
                };
                return self.keep(value, Err(Wrong::new(message, right)));
            }
            DeValue::String(text) => self.expand(value, text)?,
            _ => return self.expected(value, "a file mode", r#"write it as in "0o660""#),
        };
        self.keep(value, octal(&text))
    }

    /// The elements of an array.
    pub(super) fn array<'t>(&mut self, value: &Value<'t>, example: &str) -> Option<&'t [Spanned<DeValue<'t>>]> {
        match value.node {
            DeValue::Array(array) => Some(array),
            _ => self.expected(value, "an array", &format!("write it in brackets, as in {example}")),
        }
    }

    /// Notes that the value is of another type.
    pub(super) fn expected<T>(&mut self, value: &Value<'_>, wanted: &str, help: &str) -> Option<T> {
        let message = format!("`{}` must be {wanted}, not {}", value.key, kind(value.node));
        self.problem(value.span.clone(), message, help.to_owned());
        None
    }

    fn keep<T>(&mut self, value: &Value<'_>, read: Result<T, Wrong>) -> Option<T> {
        read.map_err(|wrong| self.wrong(value, wrong)).ok()
    }

    fn duration_text(&mut self, value: &Value<'_>) -> Option<String> {
        match value.node {
            DeValue::String(text) => self.expand(value, text),
            DeValue::Integer(number) if number.radix() == 10 && number.as_str().bytes().all(|b| b.is_ascii_digit()) => {
                let right = format!("write \"{}s\" for seconds", number.as_str());
                self.expected(value, "a duration with a unit", &right)
            }
            _ => self.expected(value, "a duration", r#"write it as in "30s" or "1h30m""#),
        }
    }

    /// `Some(None)` is a value of another type.
    fn scalar<'t>(&mut self, value: &Value<'t>) -> Option<Option<Scalar<'t>>> {
        Some(match value.node {
            DeValue::Integer(number) => Some(Scalar::Integer { digits: number.as_str(), radix: number.radix() }),
            DeValue::Boolean(flag) => Some(Scalar::Boolean(*flag)),
            DeValue::String(text) if is_one_reference(text) => Some(Scalar::Text(self.expand(value, text)?)),
            _ => None,
        })
    }

    fn expand(&mut self, value: &Value<'_>, text: &str) -> Option<String> {
        match substitute(text, self.env) {
            Ok(text) => Some(Cow::into_owned(text)),
            Err(fault) => {
                let raw = self.source.get(value.span.clone()).unwrap_or_default();
                let span = match raw.find(&fault.at) {
                    Some(at) => value.span.start + at..value.span.start + at + fault.at.len(),
                    None => value.span.clone(),
                };
                self.problem(span, format!("`{}`: {}", value.key, fault.message), fault.help);
                None
            }
        }
    }
}

impl<'t> Section<'t> {
    /// Opens a table; what is not among `keys` is a problem.
    pub(super) fn open(
        reader: &mut Reader<'_>,
        title: impl Into<String>,
        table: &'t DeTable<'t>,
        span: Range<usize>,
        keys: &[&'static str],
    ) -> Self {
        let mut section = Self { title: title.into(), table, span, misspelt: Vec::new() };
        for (key, _) in table {
            let name: &str = key.get_ref();
            if keys.contains(&name) {
                continue;
            }
            let near = reader.nearest(name, keys.iter().copied());
            section.misspelt.extend(near);
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("keys here are {}", list(keys.iter().copied(), "and")),
            };
            reader.problem(key.span(), format!("unknown key {} in {}", quote(name), section.title), help);
        }
        section
    }

    /// What stands behind a key.
    pub(super) fn get(&self, key: &str) -> Option<Value<'t>> {
        let (key, value) = self.table.get_key_value(key)?;
        Some(Value { key: key.get_ref(), key_span: key.span(), node: value.get_ref(), span: value.span() })
    }

    /// The key stands there, or one that seems to mean it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key) || self.misspelt.contains(&key)
    }

    /// What is read behind a key, else the default.
    pub(super) fn optional<'a, T>(
        &self,
        reader: &mut Reader<'a>,
        key: &str,
        default: T,
        read: impl FnOnce(&mut Reader<'a>, &Value<'t>) -> Option<T>,
    ) -> T {
        self.get(key).and_then(|value| read(reader, &value)).unwrap_or(default)
    }

    /// What is read behind a key that must be there.
    pub(super) fn required<'a, T>(
        &self,
        reader: &mut Reader<'a>,
        key: &str,
        example: &str,
        read: impl FnOnce(&mut Reader<'a>, &Value<'t>) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key);
        if !self.has(key) {
            reader.missing(
                self.span.clone(),
                format!("{} has no `{key}`", self.title),
                format!("add a line such as `{key} = {example}`"),
            );
        }
        read(reader, &value?)
    }
}

/// A TOML type with its article.
pub(super) fn kind(node: &DeValue<'_>) -> &'static str {
    match node {
        DeValue::String(_) => "a text in quotes",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
