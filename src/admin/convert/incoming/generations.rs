//! Trials, confirmations and rollbacks.

use super::{Checked, MAX_DURATION, duration, invalid, provenance};
use crate::{
    control::{ConfirmRequest, GuardRule, RollbackRequest, Terms},
    pb,
};

/// On what terms a reload stays.
pub(super) fn terms(confirm_within: Option<prost_types::Duration>, guard: Option<pb::Guard>) -> Checked<Terms> {
    let within = |given| duration("confirm_within (--confirm)", given, MAX_DURATION);
    Ok(Terms { confirm_within: confirm_within.map(within).transpose()?, guard: guard.map(rule).transpose()? })
}

fn rule(guard: pb::Guard) -> Checked<GuardRule> {
    let default = GuardRule::default();
    if guard.threshold_percent > 100 {
        return invalid(format!(
            "guard.threshold_percent (--guard-threshold) is {}; use 1 to 100 percentage points",
            guard.threshold_percent
        ));
    }
    let given = |given| duration("guard.watch (--guard-for)", given, MAX_DURATION);
    Ok(GuardRule {
        threshold: Some(guard.threshold_percent).filter(|&points| points > 0).unwrap_or(default.threshold),
        min_connections: Some(guard.min_connections).filter(|&count| count > 0).unwrap_or(default.min_connections),
        watch: guard.watch.map(given).transpose()?.unwrap_or(default.watch),
    })
}

/// A confirmation.
pub(in crate::admin) fn confirm(request: pb::ConfirmRequest, peer: &str) -> Checked<ConfirmRequest> {
    Ok(ConfirmRequest { generation: number(request.generation), by: provenance(request.by, peer)? })
}

/// A rollback.
pub(in crate::admin) fn rollback(request: pb::RollbackRequest, peer: &str) -> Checked<RollbackRequest> {
    Ok(RollbackRequest {
        generation: number(request.generation),
        expected_generation: number(request.expected_generation),
        by: provenance(request.by, peer)?,
    })
}

fn number(generation: u64) -> Option<u64> {
    Some(generation).filter(|&generation| generation > 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_not_said_of_a_guard_has_its_default() {
        assert_eq!(terms(None, None).unwrap(), Terms::default());
        let guard = terms(None, Some(pb::Guard::default())).unwrap().guard;
        assert_eq!(guard, Some(GuardRule::default()));
        let minute = prost_types::Duration { seconds: 60, nanos: 0 };
        let said = pb::Guard { threshold_percent: 1, min_connections: 7, watch: Some(minute) };
        let rule = GuardRule { threshold: 1, min_connections: 7, watch: Duration::from_secs(60) };
        assert_eq!(
            terms(Some(minute), Some(said)).unwrap(),
            Terms { confirm_within: Some(Duration::from_secs(60)), guard: Some(rule) }
        );
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let never = prost_types::Duration::default();
        assert!(terms(Some(never), None).unwrap_err().to_string().contains("--confirm"));
        let guard = pb::Guard { watch: Some(never), ..Default::default() };
        assert!(terms(None, Some(guard)).unwrap_err().to_string().contains("--guard-for"));
        let guard = pb::Guard { threshold_percent: 101, ..Default::default() };
        assert!(terms(None, Some(guard)).unwrap_err().to_string().contains("1 to 100"));
    }
}
