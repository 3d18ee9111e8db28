//! `netctl check`.

use crate::pb;

use super::units;

/// One result as a line: outcome, time, who, and why not.
pub(crate) fn line(result: &pb::CheckResult) -> String {
    let took = units::span(result.took.as_ref()).map_or_else(|| "-".to_owned(), units::duration);
    let check = if result.configured { &result.check } else { "connect" };
    let why = match result.why.as_str() {
        "" => String::new(),
        why => format!(": {}", units::first_line(why)),
    };
    format!("{:<9}  {took:>7}  endpoint/{}/{}  {check}{why}", result.outcome, result.pool, result.endpoint)
}
