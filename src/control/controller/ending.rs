//! How a Controller ends: what is left of drains and workers.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Controller, End};
use crate::control::{
    drain_plan::DrainPlan,
    lifecycle::Input,
    port::WorkerPort,
    request::{DrainOutcome, EventKind, Refusal, ShutdownRequest, Target},
};

impl<P: WorkerPort> Controller<P> {
    pub(super) fn shutdown(&mut self, request: ShutdownRequest) -> Result<Option<DrainPlan>, Refusal> {
        let plan = DrainPlan::of(request.course, &Target::Daemon, &self.state.config().drain)?;
        let text = if request.now { "stopping at once" } else { "draining, then stopping" };
        self.journal.asked(EventKind::Shutdown, "", text, &request.by);
        self.leaving_by = request.by;
        self.live(if request.now { Input::ShutdownNow } else { Input::Shutdown(plan) });
        Ok(Some(plan).filter(|_| !request.now))
    }

    pub(super) async fn finish(mut self) -> Result<End, String> {
        let succeeded = self.upgrades.has_retired();
        self.requests.close();
        while self.requests.try_recv().is_ok() {}
        self.waiting.clear();
        match succeeded {
            // They go on in the successor, but for those of workers.
            true => self.end_drains(|_| true, DrainOutcome::HandedOver),
            false => self.end_drains(|_| true, DrainOutcome::Shutdown),
        }
        self.fleet.stop();
        // By unique reference: orders that wait cannot be shared over threads.
        let fleet = &mut self.fleet;
        let ended = async move {
            while !fleet.is_finished() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(self.pace.stop, ended).await.is_err() {
            tracing::error!("not all workers have ended within {:?}", self.pace.stop);
        }
        let end = match succeeded {
            true => End::Succeeded { stop: self.lifecycle.is_leaving() },
            false => End::Stopped,
        };
        tracing::info!("{}", if succeeded { "handed over; this process ends" } else { "stopped" });
        self.fault.map_or(Ok(end), Err)
    }
}
