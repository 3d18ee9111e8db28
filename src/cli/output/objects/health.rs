//! What checks and connections say of endpoints.

use std::time::SystemTime;

use super::{Look, units};
use crate::pb;

/// Endpoints of a pool that are listed although nothing is wrong with them.
const WELL: usize = 5;

/// A line for each endpoint that is checked or was ejected: all that are not
/// well, and the first of the others in each pool.
pub(super) fn lines<'a>(pools: &'a [pb::Pool], look: Look) -> impl Iterator<Item = String> + 'a {
    pools.iter().flat_map(move |pool| {
        let with_health = pool.endpoints.iter().filter_map(|each| Some((each, each.health.as_ref()?)));
        let told = with_health.filter(|(_, health)| health.standing != "unchecked" || health.ejections > 0);
        let (well, ill): (Vec<_>, Vec<_>) = told.partition(|(_, health)| health.standing == "healthy");
        let more = well.len().saturating_sub(WELL);
        let rest = (more > 0).then(|| format!("  pool/{}: and {more} more that are healthy", pool.name));
        let line = move |(endpoint, health): (&pb::Endpoint, &pb::EndpointHealth)| {
            format!("  endpoint/{}/{}: {}", pool.name, endpoint.address, describe(health, look.now))
        };
        ill.into_iter().chain(well.into_iter().take(WELL)).map(line).chain(rest)
    })
}

/// `unhealthy since 12s ago: 3 http checks in a row failed; last check 1s ago:
/// it answered status 503`.
fn describe(health: &pb::EndpointHealth, now: SystemTime) -> String {
    let mut text = health.standing.clone();
    if let Some(since) = units::time(health.since.as_ref()) {
        text.push_str(&format!(", turned {}", units::ago(since, now)));
    }
    if let Some(until) = units::time(health.ejected_until.as_ref()) {
        text.push_str(&format!(", for another {}", units::duration(units::age(now, until))));
    }
    if !health.why.is_empty() {
        text.push_str(&format!(": {}", health.why));
    }
    if let Some(last) = &health.last {
        let ago = units::time(last.at.as_ref()).map(|at| format!(" {}", units::ago(at, now))).unwrap_or_default();
        let took = units::span(last.took.as_ref()).map(units::duration).unwrap_or_default();
        let outcome = if last.failure.is_empty() { "good" } else { &last.failure };
        text.push_str(&format!("; last {} check{ago}: {outcome} ({took})", health.check));
    }
    match health.ejections {
        0 => {}
        1 => text.push_str("; ejected once"),
        times => text.push_str(&format!("; ejected {times} times")),
    }
    text
}
