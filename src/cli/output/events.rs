//! `netctl events`.

use crate::pb;

use super::{objects, units};

/// One event as a line: when, what, about what, in words, by whom.
pub(crate) fn line(event: &pb::Event) -> String {
    let at = match units::time(event.at.as_ref()) {
        Some(at) => humantime::format_rfc3339_seconds(at).to_string(),
        None => "-".to_owned(),
    };
    let object = if event.object.is_empty() { "netd" } else { &event.object };
    let by = match objects::provenance(event.by.as_ref()) {
        Some(by) => format!(" [by {by}]"),
        None => String::new(),
    };
    format!("{at}  {:<18}  {object}: {}{by}", event.kind, units::first_line(&event.text))
}
