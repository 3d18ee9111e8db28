//! Taking back what kept listeners from accepting: as many as possible come
//! back, and the others do not stand in their way.

use std::time::Duration;

use super::{
    controller::Controller,
    fleet::Commit,
    names,
    port::WorkerPort,
    request::{EventKind, ListenerOverride, Override, Provenance, Refusal},
    sockets::Faults,
    state::State,
};

/// A listener that could not come back is tried again this much later.
const RETRY: Duration = Duration::from_secs(5);

/// Who stops a listener that cannot have its sockets.
const NETD: &str = "netd";

impl<P: WorkerPort> Controller<P> {
    /// Makes `next` the state. A listener that would accept, but cannot have
    /// its sockets, is stopped instead, with the reason, for a while.
    pub(super) fn bring_up(&mut self, mut next: State) -> Result<(Commit, Faults), Refusal> {
        self.fleet.check_responsive()?;
        self.hire(self.workers_of(next.config()))?;
        let mut all = Vec::new();
        // Each round takes at least one listener out.
        let (delta, opened) = loop {
            let delta = self.fleet.told().delta(&next);
            let wanted = delta.start.iter().chain(&delta.rebind);
            let faults = match self.sockets.open(wanted, &self.fleet.addresses()) {
                Ok(opened) => break (delta, opened),
                Err(Faults(faults)) => faults,
            };
            let now = self.clock.now().wall;
            for (name, error) in &faults {
                let by = Provenance { who: NETD.to_owned(), why: error.clone() };
                next.stop(name, Some(RETRY), &by, now)?;
            }
            all.extend(faults);
        };
        let before = self.state.clone();
        let commit = self.carry_out(next, delta, opened);
        for (name, error) in &all {
            let known = before.listener_override(name).is_some_and(|each| is_retry(each) && each.by.why == *error);
            if !known {
                let text = format!("listener `{name}` does not come back, and is tried again every {RETRY:?}: {error}");
                self.journal.seen(EventKind::ListenerStopped, &names::listener(name), &text);
            }
        }
        Ok((commit, Faults(all)))
    }
}

/// Whether it stands for a listener that could not come back.
pub(super) fn is_retry(each: &Override<ListenerOverride>) -> bool {
    each.by.who == NETD && each.value == ListenerOverride::Stopped
}

/// What whoever asked is told.
pub(super) fn refusal(faults: Faults) -> Refusal {
    let text = Refusal::from(faults).to_string();
    Refusal::Precondition(format!(
        "{text}\nall others accept again; what does not is tried again every {RETRY:?}, and `netctl start NAME` tries at once"
    ))
}
