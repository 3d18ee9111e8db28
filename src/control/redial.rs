//! Connections of endpoints that a reload removed, and over which no byte has
//! gone yet, go to other endpoints of the pool.

use super::{controller::Controller, gather::Gather, names, port::WorkerPort, request::EventKind};
use crate::worker::{Command, EndpointId};

impl<P: WorkerPort> Controller<P> {
    /// Has connections of removed endpoints that are unused dial others. Not
    /// while a reload may be taken back, which would keep them where they are.
    pub(super) fn look_at_unused(&mut self) {
        let may_move = self.trial.is_none()
            && !self.busy
            && !self.lifecycle.is_leaving()
            && !self.upgrades.is_moving()
            && !self.in_transit();
        if !may_move {
            return;
        }
        let due = self.removed.take_movable(self.clock.now().instant);
        // Of a pool that is gone nothing else is left.
        let told = self.fleet.told();
        let retired = told.retired_endpoints.iter().filter(|each| due.contains(&each.id));
        let retired = retired.filter(|each| told.pools.contains_key(&each.pool));
        let (ids, objects): (Vec<EndpointId>, Vec<String>) =
            retired.map(|each| (each.id, names::endpoint(&each.pool, &each.address.to_string()))).unzip();
        if ids.is_empty() {
            return;
        }
        let gather = self.fleet.ask_all(|reply| Command::Redial(ids.clone(), reply));
        self.after(gather, move |controller, gather: Gather<Vec<u64>>| {
            let count: u64 = gather.answers.iter().map(|(_, ids)| ids.len() as u64).sum();
            if count > 0 {
                let text = format!(
                    "{} without a byte so far: another endpoint of the pool is dialed, this one is removed",
                    names::counted(count, "connection")
                );
                let object = if let [object] = &objects[..] { object.as_str() } else { "" };
                controller.journal.seen(EventKind::ConnectionsMoved, object, &text);
            }
        });
    }
}
