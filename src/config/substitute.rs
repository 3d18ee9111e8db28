//! Environment substitution in text: `${VAR}`, `${VAR:-default}`, and `$${`
//! for a literal `${`.

use std::borrow::Cow;

/// Most bytes that a text may have after substitution.
const MAX_RESULT: usize = 64 * 1024;

/// What is wrong with a substitution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The beginning of the faulty part, as it stands in the text.
    pub(super) at: String,
    pub(super) message: String,
    pub(super) help: String,
}

/// Expands every `${...}` of the text. As in a shell, the default after `:-`
/// stands in for a variable that is not set or empty; it goes to the next `}`
/// and is taken as it is.
pub(super) fn substitute<'t>(text: &'t str, env: &dyn Fn(&str) -> Option<String>) -> Result<Cow<'t, str>, Fault> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        result.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        if let Some(after) = rest.strip_prefix("$${") {
            result.push_str("${");
            rest = after;
        } else if rest.starts_with("${") {
            let reference = Reference::read(rest)?;
            result.push_str(&reference.expand(env)?);
            rest = &rest[reference.whole.len()..];
        } else {
            result.push('$');
            rest = &rest[1..];
        }
        if result.len() > MAX_RESULT {
            return Err(Fault {
                at: "${".to_owned(),
                message: "the text is longer than 64 KiB after substitution".to_owned(),
                help: "use a shorter value in the environment".to_owned(),
            });
        }
    }
    result.push_str(rest);
    Ok(Cow::Owned(result))
}

/// The text is one `${...}` and nothing else, so that its value may also be a
/// number or a boolean.
pub(super) fn is_one_reference(text: &str) -> bool {
    Reference::read(text).is_ok_and(|reference| reference.whole.len() == text.len())
}

/// Writes a text so that [`substitute`] gives it back.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    if text.contains("${") { Cow::Owned(text.replace("${", "$${")) } else { Cow::Borrowed(text) }
}

struct Reference<'t> {
    whole: &'t str,
    variable: &'t str,
    default: Option<&'t str>,
}

impl<'t> Reference<'t> {
    /// Reads the reference that the text begins with.
    fn read(text: &'t str) -> Result<Self, Fault> {
        let fault = |at: &str, message: String, help: &str| Fault { at: at.to_owned(), message, help: help.to_owned() };
        let inner = text.strip_prefix("${").unwrap_or_default();
        let Some(end) = inner.find('}') else {
            let help = "write `${VAR}` or `${VAR:-default}`; a literal `${` is written `$${`";
            return Err(fault("${", "`${` without a closing `}`".to_owned(), help));
        };
        let (variable, default) = match inner[..end].split_once(":-") {
            Some((variable, default)) => (variable, Some(default)),
            None => (&inner[..end], None),
        };
        let whole = &text[..end + "${}".len()];
        let mut letters = variable.chars();
        let starts_well = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !starts_well || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let help = "names have letters, digits and `_`, as in `${PORT}` or `${PORT:-8080}`; a literal `${` is written `$${`";
            return Err(fault(whole, "this is no name of an environment variable".to_owned(), help));
        }
        Ok(Self { whole, variable, default })
    }

    fn expand(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Fault> {
        let value = env(self.variable);
        match (value, self.default) {
            (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
            (Some(value), _) => Ok(value),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(Fault {
                at: self.whole.to_owned(),
                message: format!("environment variable `{}` is not set", self.variable),
                help: format!("set it, or give a default: `${{{}:-default}}`", self.variable),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("8080".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${PORT}".to_owned()),
            "BIG" => Some("x".repeat(MAX_RESULT + 1)),
            _ => None,
        }
    }

    #[test]
    fn expands() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("127.0.0.1:${PORT}", "127.0.0.1:8080"),
            ("${PORT}${PORT}", "80808080"),
            ("${NONE:-x y}", "x y"),
            ("${NONE:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-full}", "full"),
            ("${NESTED}", "${PORT}"),
            ("$${PORT}", "${PORT}"),
            ("$$${PORT}", "$${PORT}"),
            ("$PORT $$ $ {PORT}", "$PORT $$ $ {PORT}"),
            ("$", "$"),
            ("é${PORT}é", "é8080é"),
        ] {
            assert_eq!(substitute(text, &env).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, at, message) in [
            ("a ${NONE}", "${NONE}", "environment variable `NONE` is not set"),
            ("a ${PORT", "${", "`${` without a closing `}`"),
            ("${}", "${}", "this is no name of an environment variable"),
            ("${1A}", "${1A}", "this is no name of an environment variable"),
            ("${A B:-x}", "${A B:-x}", "this is no name of an environment variable"),
            ("${BIG}", "${", "the text is longer than 64 KiB after substitution"),
        ] {
            let fault = substitute(text, &env).unwrap_err();
            assert_eq!((fault.at.as_str(), fault.message.as_str()), (at, message), "{text}");
        }
    }

    #[test]
    fn knows_a_lone_reference() {
        for (text, expected) in
            [("${N}", true), ("${N:-2}", true), ("${N}${N}", false), (" ${N}", false), ("$${N}", false), ("4", false)]
        {
            assert_eq!(is_one_reference(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn escape_is_undone(text in "[$\\{}A-Z:é-]{0,40}") {
            let escaped = escape(&text).into_owned();
            prop_assert_eq!(substitute(&escaped, &env).unwrap(), text);
        }

        #[test]
        fn any_text_is_survived(text in ".{0,60}") {
            let _ = substitute(&text, &env);
        }
    }
}
