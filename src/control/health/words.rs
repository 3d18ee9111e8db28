//! What is told of health, in words.

use std::time::Duration;

use crate::{
    config::{Address, CheckKind, format_duration},
    control::request::Standing,
    health::{Cause, Verdict},
};

/// Why a verdict turned: so many answers in a row, and what the last one was.
pub(super) fn answers(kind: &CheckKind, row: u64, failure: Option<&str>) -> String {
    let kind = kind.as_str();
    match (failure, row) {
        (None, 1) => format!("the {kind} check succeeded"),
        (None, row) => format!("{row} {kind} checks in a row succeeded"),
        (Some(why), 1) => format!("the {kind} check failed: {why}"),
        (Some(why), row) => format!("{row} {kind} checks in a row failed, the last: {why}"),
    }
}

/// An endpoint's verdict is another.
pub(super) fn turned(address: &Address, pool: &str, verdict: Verdict, why: &str) -> String {
    match verdict {
        Verdict::Healthy => format!("{address} of pool `{pool}` is healthy: {why}"),
        Verdict::Unhealthy | Verdict::Unknown => format!("{address} of pool `{pool}` is unhealthy: {why}"),
    }
}

/// Why an endpoint has a standing that no answer gave it.
pub(super) fn reloaded(standing: Standing) -> &'static str {
    match standing {
        Standing::Unknown => "it was not asked yet",
        Standing::Unchecked => "it is not asked",
        Standing::Healthy | Standing::Unhealthy | Standing::Ejected => "known from another pool that asks it the same",
    }
}

/// What ejects.
pub(super) fn cause(cause: Cause) -> String {
    match cause {
        Cause::ConnectFailures(n) => format!("{n} connects in a row failed"),
        Cause::EarlyResets(n) => format!("{n} connections in a row were ended by it before it had sent a byte"),
    }
}

/// An endpoint is ejected.
pub(super) fn ejected(address: &Address, pool: &str, why: &str, time: Duration, ejections: u32) -> String {
    let time = format_duration(time);
    format!("{address} of pool `{pool}` is ejected for {time} (ejection {ejections}): {why}")
}

/// Endpoints are not ejected that would be: one by name, and how many more;
/// `share`: so many of all are ejected, and so many per cent may be.
pub(super) fn spared(pool: &str, first: &Address, why: &str, more: usize, share: (usize, usize, u8)) -> String {
    let (ejected, total, max_share) = share;
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "pool `{pool}` does not eject {first} ({why}){more}: {ejected} of {total} are ejected already, and \
         `max_share` ({max_share} %) allows no more"
    )
}

/// An ejection is over.
pub(super) fn readmitted(address: &Address, pool: &str) -> String {
    format!("{address} of pool `{pool}` is no longer ejected: its time is over")
}

/// A pool's panic begins or ends.
pub(super) fn panic(pool: &str, panics: bool, healthy: usize, total: usize, threshold: u8) -> String {
    let count = format!("{healthy} of {total} endpoints that may be used are healthy");
    if panics {
        format!("pool `{pool}` uses all endpoints, healthy or not: {count}, fewer than {threshold} %")
    } else {
        format!("pool `{pool}` uses healthy endpoints only: {count}, not fewer than {threshold} %")
    }
}
