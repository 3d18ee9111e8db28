//! What checks and connections say of an endpoint, as part of a sentence.

use std::time::{Duration, SystemTime};

use crate::{
    config::format_duration,
    control::request::{EndpointState, EndpointView},
};

/// `unhealthy for 12s: 3 http checks in a row failed`; `None`: nothing speaks
/// against it.
pub(super) fn trouble(view: &EndpointView, now: SystemTime) -> Option<String> {
    if !matches!(view.state, EndpointState::Unhealthy | EndpointState::Ejected | EndpointState::Unknown) {
        return None;
    }
    let health = view.health.as_ref()?;
    let word = health.standing.as_str();
    let time = match health.ejected_until.filter(|_| view.state == EndpointState::Ejected) {
        Some(until) => format!("for another {}", whole(until, now)),
        None => format!("for {}", whole(now, health.since)),
    };
    Some(format!("{word} {time}: {}", health.why))
}

/// What follows from it, where no operator has said anything.
pub(super) fn sentence(subject: &str, weight: u16, trouble: &str) -> String {
    match weight {
        0 => format!("{subject} takes no new connections: it is {trouble}"),
        weight => format!(
            "{subject} has weight {weight}, as the file says, although it is {trouble}; so few endpoints of its pool \
             are healthy that all are used"
        ),
    }
}

/// That it would be ejected, and is not.
pub(super) fn spared(view: &EndpointView) -> Option<String> {
    let why = view.health.as_ref()?.spared.as_ref()?;
    Some(format!("would be ejected ({why}), but as many endpoints are already as `max_share` of its pool allows"))
}

/// What the last probe came to.
pub(super) fn last(view: &EndpointView, now: SystemTime) -> Option<String> {
    let health = view.health.as_ref()?;
    let (last, kind) = (health.last.as_ref()?, health.check?);
    let ago = whole(now, last.at);
    Some(match &last.failure {
        Some(why) => format!("the last {kind} check, {ago} ago, failed: {why}"),
        None => format!("the last {kind} check, {ago} ago, succeeded"),
    })
}

/// Whole seconds between them.
fn whole(late: SystemTime, early: SystemTime) -> String {
    format_duration(Duration::from_secs(late.duration_since(early).unwrap_or_default().as_secs()))
}
