//! The daemon's life, from the start to the last connection. Pure: inputs and
//! the time in, effects out.

use std::time::{Duration, Instant};

use super::request::{DaemonState, DrainPlan};

/// How long the cut connections get after the deadline of the last drain
/// before the daemon stops regardless.
const GRACE: Duration = Duration::from_secs(2);
/// How much more time is asked of the service supervisor each time, while
/// draining to stop.
const EXTENSION: Duration = Duration::from_secs(30);
/// How often more time is asked for.
const EXTEND_EVERY: Duration = Duration::from_secs(10);

/// What happens to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// Every worker serves.
    Started,
    /// SIGTERM and its like: the first drains as configured, then stops; the
    /// second stops at once.
    Term(DrainPlan),
    /// An operator drains, then stops.
    Shutdown(DrainPlan),
    /// An operator stops at once.
    ShutdownNow,
    /// The whole daemon is about to drain, and accepts still.
    LameDuck,
    /// The whole daemon accepts nothing new any more.
    DrainStarted,
    /// That is taken back.
    Undrained,
    /// The drain of the whole daemon has nothing left.
    Drained,
    /// Time passes.
    Tick,
}

/// What has to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Tell the supervisor that the daemon serves.
    Ready,
    /// Tell the supervisor that the daemon is going away.
    Stopping,
    /// Drain everything.
    Drain(DrainPlan),
    /// Ask the supervisor for so much more time.
    ExtendTimeout(Duration),
    /// End the workers and return.
    Stop,
}

/// Where in its life the daemon is.
#[derive(Debug)]
pub(super) struct Lifecycle {
    state: DaemonState,
    leaving: Option<Leaving>,
}

/// The daemon stops when it is drained.
#[derive(Debug)]
struct Leaving {
    deadline: Option<Instant>,
    extended_at: Instant,
    /// A signal asked for it: the next one stops at once.
    signalled: bool,
}

impl Lifecycle {
    pub(super) fn new() -> Self {
        Self { state: DaemonState::Starting, leaving: None }
    }

    pub(super) fn state(&self) -> DaemonState {
        self.state
    }

    /// Whether the daemon is on its way out: nothing may bring it back.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some() || self.state == DaemonState::Stopping
    }

    /// Whether the next SIGTERM stops at once.
    pub(super) fn is_signalled(&self) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.signalled)
    }

    /// Takes an input in. After [`Effect::Stop`] nothing has an effect.
    pub(super) fn on(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        if self.state == DaemonState::Stopping {
            return Vec::new();
        }
        match input {
            Input::Started if self.state == DaemonState::Starting => {
                self.state = DaemonState::Serving;
                vec![Effect::Ready]
            }
            Input::Started => Vec::new(),
            Input::Term(_) if self.is_signalled() => self.stop(),
            Input::Term(plan) => self.leave(plan, true, now),
            Input::Shutdown(plan) => self.leave(plan, self.is_signalled(), now),
            Input::ShutdownNow => self.stop(),
            Input::LameDuck => {
                if self.state == DaemonState::Serving {
                    self.state = DaemonState::LameDuck;
                }
                Vec::new()
            }
            Input::DrainStarted => {
                if matches!(self.state, DaemonState::Serving | DaemonState::LameDuck) {
                    self.state = DaemonState::Draining;
                }
                Vec::new()
            }
            Input::Undrained => {
                let drained =
                    matches!(self.state, DaemonState::LameDuck | DaemonState::Draining | DaemonState::Drained);
                if drained && self.leaving.is_none() {
                    self.state = DaemonState::Serving;
                }
                Vec::new()
            }
            Input::Drained => self.drained(),
            Input::Tick => self.tick(now),
        }
    }

    fn leave(&mut self, plan: DrainPlan, signalled: bool, now: Instant) -> Vec<Effect> {
        if matches!(self.state, DaemonState::Starting | DaemonState::Drained) {
            return self.stop();
        }
        let first = self.leaving.is_none();
        // From this moment on it is not ready, whatever keeps the drain waiting.
        if matches!(self.state, DaemonState::Serving | DaemonState::LameDuck) {
            self.state = if plan.lame_duck.is_zero() { DaemonState::Draining } else { DaemonState::LameDuck };
        }
        // A deadline beyond the end of time is none.
        let at = plan.whole().and_then(|after| now.checked_add(after));
        self.leaving = Some(Leaving { deadline: at, extended_at: now, signalled });
        let mut effects = Vec::new();
        if first {
            effects.push(Effect::Stopping);
        }
        effects.extend([Effect::ExtendTimeout(EXTENSION), Effect::Drain(plan)]);
        effects
    }

    fn drained(&mut self) -> Vec<Effect> {
        if self.leaving.is_some() {
            return self.stop();
        }
        if self.state == DaemonState::Draining {
            self.state = DaemonState::Drained;
        }
        Vec::new()
    }

    fn tick(&mut self, now: Instant) -> Vec<Effect> {
        let Some(leaving) = &mut self.leaving else { return Vec::new() };
        if leaving.deadline.and_then(|at| at.checked_add(GRACE)).is_some_and(|at| at <= now) {
            return self.stop();
        }
        if now.saturating_duration_since(leaving.extended_at) < EXTEND_EVERY {
            return Vec::new();
        }
        leaving.extended_at = now;
        vec![Effect::ExtendTimeout(EXTENSION)]
    }

    fn stop(&mut self) -> Vec<Effect> {
        let told = self.leaving.is_some();
        self.state = DaemonState::Stopping;
        if told { vec![Effect::Stop] } else { vec![Effect::Stopping, Effect::Stop] }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests {
    use super::*;

    const fn plan(deadline: Option<Duration>) -> DrainPlan {
        DrainPlan { lame_duck: Duration::ZERO, gradual: None, deadline, moves: false }
    }

    const PLAN: DrainPlan = plan(Some(Duration::from_secs(30)));
    const TERM: Input = Input::Term(PLAN);

    fn serving(now: Instant) -> Lifecycle {
        let mut life = Lifecycle::new();
        assert_eq!(life.on(Input::Started, now), [Effect::Ready]);
        assert_eq!(life.state(), DaemonState::Serving);
        life
    }

    #[test]
    fn the_first_term_drains_and_the_end_of_the_drain_stops() {
        let now = Instant::now();
        let mut life = serving(now);
        let drain = Effect::Drain(PLAN);
        assert_eq!(life.on(TERM, now), [Effect::Stopping, Effect::ExtendTimeout(EXTENSION), drain]);
        assert_eq!(life.state(), DaemonState::Draining);
        assert!(life.is_leaving());
        assert_eq!(life.on(Input::Drained, now), [Effect::Stop]);
        assert_eq!(life.state(), DaemonState::Stopping);
    }

    #[test]
    fn the_second_term_stops_at_once_and_nothing_follows() {
        let now = Instant::now();
        let mut life = serving(now);
        life.on(TERM, now);
        assert_eq!(life.on(TERM, now), [Effect::Stop]);
        for input in [TERM, Input::ShutdownNow, Input::Undrained, Input::Drained, Input::Started, Input::Tick] {
            assert_eq!(life.on(input, now), []);
            assert_eq!(life.state(), DaemonState::Stopping);
        }
    }

    #[test]
    fn a_drain_by_an_operator_leaves_the_daemon_alive() {
        let now = Instant::now();
        let mut life = serving(now);
        assert_eq!(life.on(Input::DrainStarted, now), []);
        assert_eq!(life.state(), DaemonState::Draining);
        assert_eq!(life.on(Input::Drained, now), []);
        assert_eq!(life.state(), DaemonState::Drained);
        assert_eq!(life.on(Input::Undrained, now), []);
        assert_eq!(life.state(), DaemonState::Serving);
    }

    #[test]
    fn what_is_drained_stops_without_waiting() {
        let now = Instant::now();
        let mut life = serving(now);
        life.on(Input::DrainStarted, now);
        life.on(Input::Drained, now);
        assert_eq!(life.on(TERM, now), [Effect::Stopping, Effect::Stop]);
    }

    #[test]
    fn the_deadline_and_a_grace_end_a_hung_drain() {
        let now = Instant::now();
        let mut life = serving(now);
        life.on(Input::Shutdown(plan(Some(Duration::from_secs(1)))), now);
        assert_eq!(life.on(Input::Tick, now + Duration::from_secs(2)), []);
        assert_eq!(life.on(Input::Tick, now + Duration::from_secs(3)), [Effect::Stop]);
    }

    #[test]
    fn the_first_term_after_an_operators_shutdown_still_drains() {
        let now = Instant::now();
        let mut life = serving(now);
        life.on(Input::Shutdown(plan(None)), now);
        let drain = Effect::Drain(PLAN);
        assert_eq!(life.on(TERM, now), [Effect::ExtendTimeout(EXTENSION), drain]);
        assert_eq!(life.on(TERM, now), [Effect::Stop]);
    }

    #[test]
    fn a_shutdown_between_two_terms_changes_the_deadline_only() {
        let now = Instant::now();
        let mut life = serving(now);
        life.on(TERM, now);
        life.on(Input::Shutdown(plan(None)), now);
        assert_eq!(life.on(TERM, now), [Effect::Stop]);
    }

    #[test]
    fn more_time_is_asked_for_while_draining_without_a_deadline() {
        let now = Instant::now();
        let mut life = serving(now);
        life.on(Input::Shutdown(plan(None)), now);
        assert_eq!(life.on(Input::Tick, now + Duration::from_secs(9)), []);
        assert_eq!(life.on(Input::Tick, now + Duration::from_secs(10)), [Effect::ExtendTimeout(EXTENSION)]);
        assert_eq!(life.on(Input::Tick, now + Duration::from_secs(11)), []);
        assert_eq!(life.on(Input::Tick, now + Duration::from_secs(86_400)), [Effect::ExtendTimeout(EXTENSION)]);
    }

    #[test]
    fn nothing_lifts_a_drain_that_ends_in_a_stop() {
        let now = Instant::now();
        let mut life = serving(now);
        life.on(TERM, now);
        life.on(Input::Undrained, now);
        assert_eq!(life.state(), DaemonState::Draining);
    }

    #[test]
    fn term_while_starting_stops() {
        let mut life = Lifecycle::new();
        assert_eq!(life.on(TERM, Instant::now()), [Effect::Stopping, Effect::Stop]);
    }

    #[test]
    fn a_lame_duck_is_not_ready_and_its_time_counts_before_the_deadline() {
        let now = Instant::now();
        let mut life = serving(now);
        let lame = DrainPlan { lame_duck: Duration::from_secs(5), ..plan(Some(Duration::from_secs(1))) };
        let effects = life.on(Input::Term(lame), now);
        assert_eq!(effects, [Effect::Stopping, Effect::ExtendTimeout(EXTENSION), Effect::Drain(lame)]);
        assert_eq!(life.state(), DaemonState::LameDuck);
        assert_eq!(life.on(Input::Tick, now + Duration::from_secs(5)), []);
        life.on(Input::DrainStarted, now + Duration::from_secs(5));
        assert_eq!(life.state(), DaemonState::Draining);
        assert_eq!(life.on(Input::Tick, now + Duration::from_secs(7)), []);
        assert_eq!(life.on(Input::Tick, now + Duration::from_secs(8)), [Effect::Stop]);
    }

    #[test]
    fn a_lame_duck_asks_for_more_time_and_a_second_term_ends_it() {
        let now = Instant::now();
        let mut life = serving(now);
        life.on(Input::Term(DrainPlan { lame_duck: Duration::from_secs(60), ..PLAN }), now);
        assert_eq!(life.on(Input::Tick, now + Duration::from_secs(10)), [Effect::ExtendTimeout(EXTENSION)]);
        assert_eq!(life.on(TERM, now + Duration::from_secs(11)), [Effect::Stop]);
    }

    #[test]
    fn an_operators_lame_duck_can_be_taken_back() {
        let now = Instant::now();
        let mut life = serving(now);
        life.on(Input::LameDuck, now);
        assert_eq!(life.state(), DaemonState::LameDuck);
        life.on(Input::Undrained, now);
        assert_eq!(life.state(), DaemonState::Serving);
    }
}
