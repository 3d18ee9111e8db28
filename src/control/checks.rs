//! Checks that somebody asks for: made now, told one by one, and forgotten. What
//! is thought of an endpoint is left as it is: whoever looks changes nothing.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinSet,
};

use super::{
    connections::answer,
    controller::Controller,
    port::WorkerPort,
    prober::{Answer, Asking, Question, Way},
    request::{Refusal, Reply},
};
use crate::{
    config::{Address, CheckKind, HealthCheck, Initial, Pool},
    worker::FdBudget,
};

/// Checks of one request that are under way at a time; each has a descriptor.
const AT_ONCE: u64 = 64;
/// Requests that are under way at a time; more are refused.
pub(super) const REQUESTS: usize = 4;
/// Answers that wait to be read.
const AHEAD: usize = 64;

/// Which endpoints are to be checked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRequest {
    /// Of this pool.
    pub pool: String,
    /// This one alone.
    pub endpoint: Option<String>,
}

/// What the check of one endpoint came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Its pool.
    pub pool: String,
    /// Its address.
    pub endpoint: String,
    /// What was asked.
    pub check: &'static str,
    /// As the pool's checks; else the pool makes none, and it was a connect.
    pub configured: bool,
    /// What came of it.
    pub answer: Answer,
}

/// Answers in the order in which they come; the end is that of the channel.
pub type CheckResults = mpsc::Receiver<Checked>;

/// One check that is to be made.
struct Planned {
    endpoint: Address,
    asking: Asking,
}

/// All of one request.
struct Round {
    pool: Arc<Pool>,
    check: Arc<HealthCheck>,
    planned: Vec<Planned>,
    room: Descriptors,
    _place: OwnedSemaphorePermit,
}

/// Descriptors that are given back at the end.
struct Descriptors {
    budget: Option<Arc<FdBudget>>,
    taken: u64,
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.give(self.taken);
        }
    }
}

impl<P: WorkerPort> Controller<P> {
    /// Checks endpoints now.
    pub(super) fn check_now(&mut self, request: &CheckRequest, reply: Reply<CheckResults>) {
        let round = match self.round(request) {
            Ok(round) => round,
            Err(refusal) => return answer(reply, Err(refusal)),
        };
        let (tell, told) = mpsc::channel(AHEAD);
        self.beside(round.run(tell));
        answer(reply, Ok(told));
    }

    fn round(&self, request: &CheckRequest) -> Result<Round, Refusal> {
        let pool = self.state.pool(&request.pool)?.clone();
        let endpoints = match &request.endpoint {
            Some(address) => vec![self.state.endpoint(&pool.name, address)?.address.clone()],
            None => pool.endpoints.iter().map(|endpoint| endpoint.address.clone()).collect(),
        };
        let place = self
            .probes
            .place()
            .ok_or_else(|| Refusal::Busy(format!("{REQUESTS} requests for checks are under way already; try again")))?;
        let (budget, wanted) = (self.probes.fds(), AT_ONCE.min(endpoints.len() as u64));
        let taken = budget.as_ref().map_or(wanted, |budget| budget.take(wanted));
        if taken == 0 {
            return Err(Refusal::Precondition("no file descriptor is left to check anything with".to_owned()));
        }
        let check = pool.health.check.clone().unwrap_or_else(|| Arc::new(connect_only(pool.connect_timeout)));
        let way = Way::of(&pool);
        let plan = |endpoint: Address| {
            let question = Question { address: endpoint.clone(), check: check.clone(), way: way.clone() };
            Planned { endpoint, asking: self.probes.ask(question) }
        };
        let planned = endpoints.into_iter().map(plan).collect();
        Ok(Round { planned, check, pool, room: Descriptors { budget, taken }, _place: place })
    }
}

impl Round {
    /// Makes the checks, so many at a time as there is room for, until all are
    /// made or nobody listens any more.
    async fn run(self, tell: mpsc::Sender<Checked>) {
        let (mut planned, mut running) = (self.planned.into_iter(), JoinSet::new());
        loop {
            while (running.len() as u64) < self.room.taken
                && let Some(Planned { endpoint, asking }) = planned.next()
            {
                running.spawn(async move { (endpoint, asking.await) });
            }
            let ended = tokio::select! {
                ended = running.join_next() => ended,
                () = tell.closed() => return,
            };
            match ended {
                None => return,
                Some(Err(error)) => tracing::error!("a check has failed in netd itself: {error}"),
                Some(Ok((endpoint, answer))) => {
                    let checked = Checked {
                        pool: self.pool.name.clone(),
                        endpoint: endpoint.to_string(),
                        check: self.check.kind.as_str(),
                        configured: self.pool.health.check.is_some(),
                        answer,
                    };
                    if tell.send(checked).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// The check of a pool that makes none.
fn connect_only(timeout: Duration) -> HealthCheck {
    HealthCheck {
        kind: CheckKind::Tcp { send: "".into(), expect: "".into() },
        interval: timeout,
        fast_interval: timeout,
        timeout,
        rise: 1,
        fall: 1,
        jitter: 0,
        initial: Initial::Used,
    }
}

#[cfg(test)]
mod tests;
