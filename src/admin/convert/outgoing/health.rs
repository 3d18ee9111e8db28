//! Health, in the words of the API.

use super::{at, lasting};
use crate::{
    control::{Checked, HealthView, LastProbe, Outcome},
    pb,
};

/// An endpoint's.
pub(super) fn of_endpoint(view: HealthView) -> pb::EndpointHealth {
    pb::EndpointHealth {
        standing: view.standing.as_str().to_owned(),
        why: view.why,
        since: at(view.since),
        healthy_at: view.healthy_at.and_then(at),
        check: view.check.unwrap_or_default().to_owned(),
        last: view.last.map(probe),
        ejections: view.ejections,
        ejected_until: view.ejected_until.and_then(at),
        not_ejected: view.spared.unwrap_or_default(),
        ejections_refused: view.ejections_refused,
    }
}

fn probe(probe: LastProbe) -> pb::Probe {
    pb::Probe { at: at(probe.at), took: lasting(probe.took), failure: probe.failure.unwrap_or_default() }
}

/// What a check that was asked for came to.
pub(in crate::admin) fn checked(checked: Checked) -> pb::CheckResult {
    let (outcome, why) = match checked.answer.outcome {
        Outcome::Good => ("good", String::new()),
        Outcome::Bad(why) => ("bad", why),
        Outcome::TimedOut(why) => ("timeout", why),
        Outcome::NotAsked(why) => ("not-asked", why),
    };
    pb::CheckResult {
        pool: checked.pool,
        endpoint: checked.endpoint,
        check: checked.check.to_owned(),
        configured: checked.configured,
        outcome: outcome.to_owned(),
        why,
        took: lasting(checked.answer.took),
    }
}
