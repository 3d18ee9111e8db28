//! `netctl history`, and reloads on trial.

use crate::pb;

use super::{
    Look, changes,
    grid::{Column, Grid},
    objects, units,
};

/// One line a change, the latest first.
pub(crate) fn table(entries: &[pb::HistoryEntry], look: Look) -> String {
    use Column::{Figure, Text};
    let columns = [Figure("GENERATION"), Text("WHEN"), Text("WHO"), Text("WHAT"), Text("VERDICT")];
    let mut grid = Grid::new(&columns, look);
    for entry in entries {
        grid.row([number(entry), when(entry, look), who(entry), what(entry), verdict(entry)]);
    }
    grid.render()
}

/// All of one change.
pub(crate) fn entry(entry: &pb::HistoryEntry, look: Look) -> String {
    let mut grid = Grid::plain(look);
    let mut fact = |name: &str, value: String| grid.row([name.to_owned(), value]);
    fact("generation", number(entry));
    fact("when", when(entry, look));
    fact("who", objects::provenance(entry.by.as_ref()).unwrap_or_else(|| "netd".to_owned()));
    fact("what", what(entry));
    fact("from", origin(&entry.origin));
    fact("verdict", verdict(entry));
    let kept = if entry.kept { "yes, `netctl rollback` can return to it" } else { "no" };
    fact("kept", kept.to_owned());
    let mut text = grid.render();
    if !entry.changes.is_empty() {
        text.push('\n');
        text.push_str(&units::printable(&changes::list(&entry.changes)));
    }
    if entry.more_changes > 0 {
        text.push_str(&format!("and {}\n", units::counted(entry.more_changes, "more change", "more changes")));
    }
    text
}

/// "until 12:01:00 (57s left)": what is said of a reload on trial.
pub(crate) fn pending(pending: &pb::Pending, look: Look) -> String {
    let until = match units::time(pending.until.as_ref()) {
        Some(at) => {
            let left = at.duration_since(look.now).unwrap_or_default();
            format!(" until {} ({} left)", humantime::format_rfc3339_seconds(at), units::duration(left))
        }
        None => String::new(),
    };
    let former = pending.former;
    let guard =
        pending.guard.map(|guard| format!("failures rise by more than {} percentage points", guard.threshold_percent));
    let terms = match (pending.must_confirm, guard) {
        (true, None) => format!("generation {former} comes back unless `netctl confirm` keeps it"),
        (true, Some(rise)) => format!("generation {former} comes back unless `netctl confirm` keeps it, or if {rise}"),
        (false, rise) => format!("generation {former} comes back if {}", rise.unwrap_or_default()),
    };
    match pending.trouble.as_str() {
        "" => format!("on trial{until}: {terms}"),
        trouble => format!("generation {former} should be back and cannot yet: {}", units::first_line(trouble)),
    }
}

fn number(entry: &pb::HistoryEntry) -> String {
    match entry.generation {
        0 => "-".to_owned(),
        number if entry.in_force => format!("* {number}"),
        number => number.to_string(),
    }
}

fn when(entry: &pb::HistoryEntry, look: Look) -> String {
    units::time(entry.at.as_ref()).map_or_else(|| "-".to_owned(), |at| units::ago(at, look.now))
}

fn who(entry: &pb::HistoryEntry) -> String {
    match entry.by.as_ref() {
        Some(by) if !by.who.is_empty() => by.who.clone(),
        _ => "netd".to_owned(),
    }
}

fn what(entry: &pb::HistoryEntry) -> String {
    match entry.summary.as_str() {
        "" => entry.kind.clone(),
        summary => format!("{}: {summary}", entry.kind),
    }
}

fn origin(origin: &str) -> String {
    match origin {
        "" => "-".to_owned(),
        "own" => "the daemon's own file".to_owned(),
        "candidate" => "a candidate over the admin API".to_owned(),
        other => other.to_owned(),
    }
}

fn verdict(entry: &pb::HistoryEntry) -> String {
    let state = match entry.verdict.as_str() {
        "applied" if entry.in_force => "in force".to_owned(),
        "applied" => "was in force".to_owned(),
        "confirmed" if entry.in_force => "in force, confirmed".to_owned(),
        other => other.to_owned(),
    };
    if entry.reason.is_empty() { state } else { format!("{state}: {}", entry.reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_say_what_runs() {
        let told = |verdict: &str, in_force, reason: &str| {
            self::verdict(&pb::HistoryEntry {
                verdict: verdict.to_owned(),
                in_force,
                reason: reason.to_owned(),
                ..Default::default()
            })
        };
        assert_eq!(told("applied", true, ""), "in force");
        assert_eq!(told("applied", false, ""), "was in force");
        assert_eq!(told("confirmed", true, "by anna"), "in force, confirmed: by anna");
        assert_eq!(told("reverted", false, "not confirmed within 1m"), "reverted: not confirmed within 1m");
    }
}
