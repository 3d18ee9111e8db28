//! What a candidate configuration changes.

use crate::pb;

use super::{Look, history, units};

/// The answer to `netctl plan`.
pub(crate) fn plan(plan: &pb::PlanResponse) -> String {
    let mut text = if plan.changes.is_empty() {
        format!("Nothing would change against generation {}.\n", plan.generation)
    } else {
        let number = units::counted(plan.changes.len() as u64, "change", "changes");
        format!("{number} against generation {}:\n\n{}", plan.generation, list(&plan.changes))
    };
    if !plan.obstacles.is_empty() {
        text.push_str("\nA reload cannot apply this:\n");
        for obstacle in &plan.obstacles {
            text.push_str(&format!("  {}\n", indented(obstacle)));
        }
    }
    for note in &plan.notes {
        text.push_str(&format!("\nNote: {}\n", indented(note)));
    }
    units::printable(&text).into_owned()
}

/// The answer to `netctl reload`.
pub(crate) fn reload(reload: &pb::ReloadResponse, look: Look) -> String {
    let mut text = if reload.changes.is_empty() {
        format!("Nothing to change: generation {} is in force.\n", reload.generation)
    } else {
        format!("Generation {} is in force:\n\n{}", reload.generation, list(&reload.changes))
    };
    if let Some(pending) = &reload.pending {
        text.push_str(&format!("\nIt is {}.\n", history::pending(pending, look)));
    }
    units::printable(&text).into_owned()
}

/// The answer to `netctl rollback`.
pub(crate) fn rollback(rollback: &pb::RollbackResponse) -> String {
    let (generation, restored) = (rollback.generation, rollback.restored);
    let text = format!("Generation {restored} is in force again, as {generation}:\n\n{}", list(&rollback.changes));
    units::printable(&text).into_owned()
}

/// Changes object by object.
pub(super) fn list(changes: &[pb::Change]) -> String {
    changes.iter().map(change).collect()
}

fn change(change: &pb::Change) -> String {
    let sign = match change.kind.as_str() {
        "added" => '+',
        "removed" => '-',
        _ => '~',
    };
    let mut text = format!("{sign} {} {}{}\n", change.object, change.kind, connections(change));
    for detail in &change.details {
        text.push_str(&format!("    {}\n", indented(detail)));
    }
    text
}

/// What becomes of the live connections; nothing where there are none.
fn connections(change: &pb::Change) -> String {
    let fates = [(change.untouched, "untouched"), (change.drained, "drained"), (change.cut, "cut")];
    let fates: Vec<String> = fates
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, fate)| format!("{} {fate}", units::count(*number)))
        .collect();
    if fates.is_empty() { String::new() } else { format!("; connections: {}", fates.join(", ")) }
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}
