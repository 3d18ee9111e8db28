//! The course of a drain: fail readiness, go on accepting, stop, end what
//! rests, cut what is left. Pure.

use std::time::Duration;

use super::request::{Deadline, Refusal, Target};
use crate::config::{Drain, format_duration};

/// What an operator asks of a drain's course; `None`: as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// When what is left is cut, counted from the end of accepting.
    pub deadline: Deadline,
    /// End connections that rest evenly over this time; 0: do not.
    pub gradual: Option<Duration>,
    /// Go on accepting so long, while readiness fails already; 0: do not. For
    /// the whole daemon only.
    pub lame_duck: Option<Duration>,
    /// Move the connections to the other workers at once. For a worker only.
    pub moves: bool,
}

impl Course {
    /// As configured, but for the deadline.
    pub fn until(deadline: Deadline) -> Self {
        Self { deadline, gradual: None, lame_duck: None, moves: false }
    }
}

/// The course of a drain, step after step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainPlan {
    /// Go on accepting so long.
    pub lame_duck: Duration,
    /// Then end what rests evenly over this time.
    pub gradual: Option<Duration>,
    /// Cut what is left so long after the end of accepting; `None`: never.
    pub deadline: Option<Duration>,
    /// Move the connections to other workers at the end of accepting.
    pub moves: bool,
}

/// What a drain does besides waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainMode {
    /// Nothing.
    Wait,
    /// It cuts at a deadline.
    Deadline,
    /// It ends what rests over a window; it may have a deadline, too.
    Gradual,
}

impl DrainMode {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Deadline => "deadline",
            Self::Gradual => "gradual",
        }
    }
}

impl DrainPlan {
    /// What the configuration says, for the whole daemon.
    pub(super) fn configured(config: &Drain) -> Self {
        let deadline = Some(config.timeout.max(config.gradual.unwrap_or_default()));
        Self { lame_duck: config.lame_duck, gradual: config.gradual, deadline, moves: false }
    }

    /// What is asked for, and where nothing is, what is configured. A deadline
    /// that is given cuts a configured window short; a window that is given
    /// moves a configured deadline out.
    pub(super) fn of(course: Course, target: &Target, config: &Drain) -> Result<Self, Refusal> {
        let whole = *target == Target::Daemon;
        if !whole && course.lame_duck.is_some_and(|time| !time.is_zero()) {
            return Err(Refusal::Invalid(
                "a lame-duck time is for the whole daemon: only that has a readiness to fail".to_owned(),
            ));
        }
        if course.moves && !matches!(target, Target::Worker(_)) {
            return Err(Refusal::Invalid(
                "only the connections of a worker can be moved: they stay on their listener and endpoint".to_owned(),
            ));
        }
        let lame_duck = if whole { course.lame_duck.unwrap_or(config.lame_duck) } else { Duration::ZERO };
        let asked = course.gradual;
        let window = asked.or(config.gradual).filter(|window| !window.is_zero());
        let (gradual, deadline) = match (course.deadline, window) {
            (Deadline::Never, window) => (window, None),
            (Deadline::Configured, window) => (window, Some(config.timeout.max(window.unwrap_or_default()))),
            (Deadline::After(after), Some(window)) if asked.is_some() && after < window => {
                return Err(Refusal::Invalid(format!(
                    "the deadline ({}) is before the end of the window ({}) over which connections end gradually",
                    format_duration(after),
                    format_duration(window)
                )));
            }
            (Deadline::After(after), window) => {
                (window.map(|window| window.min(after)).filter(|window| !window.is_zero()), Some(after))
            }
        };
        Ok(Self { lame_duck, gradual, deadline, moves: course.moves })
    }

    /// See [`DrainMode`].
    pub(super) fn mode(self) -> DrainMode {
        match (self.gradual, self.deadline) {
            (Some(_), _) => DrainMode::Gradual,
            (None, Some(_)) => DrainMode::Deadline,
            (None, None) => DrainMode::Wait,
        }
    }

    /// From now to the cut.
    pub(super) fn whole(self) -> Option<Duration> {
        self.deadline.and_then(|deadline| deadline.checked_add(self.lame_duck))
    }

    /// `what rests ends evenly over 20s, what is left after 30s is cut`.
    pub(super) fn described(self) -> String {
        let cut = match self.deadline {
            Some(after) => format!("what is left after {} is cut", format_duration(after)),
            None => "none is cut".to_owned(),
        };
        let cut = if self.moves { format!("connections move to the other workers, {cut}") } else { cut };
        match self.gradual {
            Some(window) => format!("what rests ends evenly over {}, {cut}", format_duration(window)),
            None => cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const CONFIG: Drain = Drain { timeout: seconds(30), lame_duck: seconds(5), gradual: None };

    fn plan(course: Course, config: &Drain) -> Result<DrainPlan, Refusal> {
        DrainPlan::of(course, &Target::Daemon, config)
    }

    #[test]
    fn what_is_not_asked_for_is_as_configured() {
        let course = Course::until(Deadline::Configured);
        let plan = plan(course, &CONFIG).unwrap();
        assert_eq!(plan, DrainPlan { lame_duck: seconds(5), gradual: None, deadline: Some(seconds(30)), moves: false });
        assert_eq!(plan, DrainPlan::configured(&CONFIG));
        assert_eq!((plan.mode(), plan.whole()), (DrainMode::Deadline, Some(seconds(35))));
        let part = DrainPlan::of(course, &Target::Pool("db".to_owned()), &CONFIG).unwrap();
        assert_eq!(part.lame_duck, Duration::ZERO);
    }

    #[test]
    fn what_is_asked_for_stands_above_the_file() {
        let config = Drain { gradual: Some(seconds(20)), ..CONFIG };
        let asked = |deadline, gradual, lame_duck| {
            plan(Course { gradual, lame_duck, ..Course::until(deadline) }, &config).unwrap()
        };
        let off = asked(Deadline::Never, Some(Duration::ZERO), Some(Duration::ZERO));
        assert_eq!(off, DrainPlan { lame_duck: Duration::ZERO, gradual: None, deadline: None, moves: false });
        assert_eq!(off.mode(), DrainMode::Wait);
        let longer = asked(Deadline::Configured, Some(seconds(60)), None);
        assert_eq!((longer.gradual, longer.deadline), (Some(seconds(60)), Some(seconds(60))));
        let shorter = asked(Deadline::After(seconds(10)), None, None);
        assert_eq!((shorter.gradual, shorter.deadline), (Some(seconds(10)), Some(seconds(10))));
        let at_once = asked(Deadline::After(Duration::ZERO), None, None);
        assert_eq!((at_once.gradual, at_once.deadline), (None, Some(Duration::ZERO)));
    }

    #[test]
    fn contradictions_are_refused() {
        let course = Course { gradual: Some(seconds(10)), ..Course::until(Deadline::After(seconds(5))) };
        let text = plan(course, &CONFIG).unwrap_err().to_string();
        assert!(text.contains("(5s) is before the end of the window (10s)"), "{text}");
        let course = Course { lame_duck: Some(seconds(1)), ..Course::until(Deadline::Never) };
        let refused = DrainPlan::of(course, &Target::Listener("web".to_owned()), &CONFIG);
        assert!(matches!(refused, Err(Refusal::Invalid(_))), "{refused:?}");
        let course = Course { moves: true, ..Course::until(Deadline::Never) };
        assert!(plan(course, &CONFIG).is_err());
        assert!(DrainPlan::of(course, &Target::Worker(1), &CONFIG).unwrap().moves);
    }
}
