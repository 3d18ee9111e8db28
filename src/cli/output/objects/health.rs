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
        let told = with_health.filter(|(_, health)| is_worth_telling(health));
        let (well, ill): (Vec<_>, Vec<_>) =
            told.partition(|(_, health)| health.standing == "healthy" && health.not_ejected.is_empty());
        let more = well.len().saturating_sub(WELL);
        let rest = (more > 0).then(|| format!("  pool/{}: and {more} more that are healthy", pool.name));
        let line = move |(endpoint, health): (&pb::Endpoint, &pb::EndpointHealth)| {
            format!("  endpoint/{}/{}: {}", pool.name, endpoint.address, describe(health, look.now))
        };
        ill.into_iter().chain(well.into_iter().take(WELL)).map(line).chain(rest)
    })
}

fn is_worth_telling(health: &pb::EndpointHealth) -> bool {
    health.standing != "unchecked" || health.ejections > 0 || !health.not_ejected.is_empty()
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
    if !health.not_ejected.is_empty() {
        text.push_str(&format!("; not ejected although {}: no more may be (max_share)", health.not_ejected));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_would_be_ejected_is_told_of() {
        let health = |not_ejected: &str| pb::EndpointHealth {
            standing: "unchecked".to_owned(),
            not_ejected: not_ejected.to_owned(),
            ..Default::default()
        };
        let endpoint = |address: &str, not_ejected: &str| pb::Endpoint {
            address: address.to_owned(),
            health: Some(health(not_ejected)),
            ..Default::default()
        };
        let endpoints = vec![endpoint("10.0.0.1:80", ""), endpoint("10.0.0.2:80", "5 connects in a row failed")];
        let pools = [pb::Pool { name: "app".to_owned(), endpoints, ..Default::default() }];
        let look = Look { width: None, colour: false, now: SystemTime::UNIX_EPOCH };
        assert_eq!(
            lines(&pools, look).collect::<Vec<_>>(),
            ["  endpoint/app/10.0.0.2:80: unchecked; not ejected although 5 connects in a row failed: no more may be \
                 (max_share)"]
        );
    }
}
