//! `netctl explain` and `netctl set-split`.

use std::time::SystemTime;

use crate::pb;

use super::{
    Look,
    grid::{self, Column, Grid},
    objects, units,
};

/// Where a connection would go, and why.
pub(crate) fn page(answer: &pb::ExplainResponse, look: Look) -> String {
    let mut text = units::printable(&sentence(&answer.explanation)).into_owned();
    for limit in &answer.refused_by {
        text.push_str(&units::printable(&format!("Refused: {limit}.\n")));
    }
    for note in &answer.notes {
        text.push_str(&units::printable(&format!("Note: {note}.\n")));
    }
    if answer.shares.len() > 1 {
        let above = answer.split_override.as_ref().map(|above| format!(" ({})", objects::describe(above, look.now)));
        let line = format!("Shares: {}{}\n", shares(&answer.shares), above.unwrap_or_default());
        text.push_str(&units::printable(&line));
    }
    for pool in &answer.pools {
        text.push('\n');
        text.push_str(&table(pool, answer, look));
    }
    text
}

/// The answer to `netctl set-split`.
pub(crate) fn split(listener: &pb::Listener, now: SystemTime) -> String {
    let above = match &listener.split_override {
        Some(above) => objects::describe(above, now),
        None => "none".to_owned(),
    };
    let text = format!("listener/{}: {}\noverride: {above}\n", listener.name, shares(&listener.pools));
    units::printable(&text).into_owned()
}

/// `app=95 canary=5`, and the file's share where that is another.
pub(super) fn shares(shares: &[pb::PoolShare]) -> String {
    let share = |share: &pb::PoolShare| match share.weight == share.configured_weight {
        true => format!("{}={}", share.pool, share.weight),
        false => format!("{}={} (file {})", share.pool, share.weight, share.configured_weight),
    };
    shares.iter().map(share).collect::<Vec<_>>().join(" ")
}

/// `3`, or `3 of 10` with a limit.
pub(super) fn load(load: u64, most: u32) -> String {
    match most {
        0 => units::count(load),
        most => format!("{} of {}", units::count(load), units::count(most.into())),
    }
}

/// The weight, and what else decides the share.
pub(super) fn weight(weight: u32, percent: u32, backup: bool) -> String {
    let mut text = weight.to_string();
    if (1..100).contains(&percent) {
        text.push_str(&format!(", starting: {percent} %"));
    }
    if backup {
        text.push_str(", backup");
    }
    text
}

fn table(pool: &pb::PoolChoice, answer: &pb::ExplainResponse, look: Look) -> String {
    use Column::{Figure, Text};
    let heading = format!("pool/{}: {}, {} open", pool.pool, pool.policy, counted(pool));
    let mut grid = Grid::new(&[Text("ENDPOINT"), Figure("WEIGHT"), Figure("OPEN"), Text("THIS ONE")], look);
    for each in &pool.endpoints {
        let by: Vec<String> = answer
            .workers
            .iter()
            .filter(|worker| worker.pool == pool.pool && worker.endpoint == each.address)
            .map(|worker| worker.worker.to_string())
            .collect();
        let verdict = match (each.out.as_str(), by.as_slice()) {
            ("", []) => "could".to_owned(),
            (out, []) => format!("no: {out}"),
            (_, all) if all.len() == answer.workers.len() => "yes".to_owned(),
            (_, some) => format!("yes, on worker {}", some.join(", ")),
        };
        grid.styled_row([
            grid::text(&each.address),
            grid::text(weight(each.weight, each.share_percent, each.backup)),
            grid::text(load(each.load, each.max_connections)),
            grid::text(verdict),
        ]);
    }
    let more = match pool.more {
        0 => String::new(),
        more => format!("and {more} more\n"),
    };
    units::printable(&heading).into_owned() + "\n" + &grid.render() + &more
}

fn counted(pool: &pb::PoolChoice) -> String {
    let all = pool.endpoints.len() as u64 + u64::from(pool.more);
    format!("{} of {}", pool.open, units::counted(all, "endpoint", "endpoints"))
}

/// With a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.\n", letters.as_str())
}
