//! What control itself counted.

use super::ledger::{from_histogram, histogram};
use crate::{
    control::{ControlLedger, HealthLedger, Returns},
    pb::handover as pb,
};

pub(super) fn to_own(own: &ControlLedger) -> pb::ControlLedger {
    let health = own.health.iter().map(|((pool, address), each)| pb::HealthLedger {
        name: Some(pb::EndpointName { pool: pool.clone(), address: address.clone() }),
        ejections: each.ejections,
        ejections_refused: each.ejections_refused,
        probes: each.probes.to_vec(),
    });
    let times = own.probe_times.iter();
    let times = times.map(|(pool, time)| pb::ProbeTime { pool: pool.clone(), time: Some(histogram(time)) });
    let Returns { time, guard, rollback, confirmed } = own.returns;
    pb::ControlLedger {
        health: health.collect(),
        probe_times: times.collect(),
        trials_reverted_by_time: time,
        trials_reverted_by_guard: guard,
        trials_confirmed: confirmed,
        rollbacks: rollback,
        drains_drained: own.drains[0],
        drains_undrained: own.drains[1],
        drain_finished: own.drained[0],
        drain_retired: own.drained[1],
        drain_cut: own.drained[2],
        access_written: own.access[0],
        access_behind: own.access[1],
        access_refused: own.access[2],
    }
}

/// What is not understood was not counted.
pub(super) fn from_own(own: pb::ControlLedger) -> ControlLedger {
    let health = own.health.into_iter().filter_map(|each| {
        let name = each.name?;
        let mut probes = [0; 4];
        probes.iter_mut().zip(each.probes).for_each(|(own, counted)| *own = counted);
        let (ejections, ejections_refused) = (each.ejections, each.ejections_refused);
        Some(((name.pool, name.address), HealthLedger { ejections, ejections_refused, probes }))
    });
    ControlLedger {
        health: health.collect(),
        probe_times: own.probe_times.into_iter().map(|each| (each.pool, from_histogram(each.time))).collect(),
        returns: Returns {
            time: own.trials_reverted_by_time,
            guard: own.trials_reverted_by_guard,
            rollback: own.rollbacks,
            confirmed: own.trials_confirmed,
        },
        drains: [own.drains_drained, own.drains_undrained],
        drained: [own.drain_finished, own.drain_retired, own.drain_cut],
        access: [own.access_written, own.access_behind, own.access_refused],
    }
}
