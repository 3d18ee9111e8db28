//! CPU time instead of wall time: what others do on the same machine hardly
//! shows in it.

use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use nix::{
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};

/// CPU time, user and system, of this process and of others together.
pub(crate) struct CpuTime {
    clocks: Vec<ClockId>,
}

impl CpuTime {
    /// Of this process and of `others`, which have to run as long as it is
    /// measured.
    pub(crate) fn with(others: impl IntoIterator<Item = u32>) -> Self {
        let clock = |id: u32| clock_getcpuclockid(Pid::from_raw(id as i32)).expect("the process runs");
        Self { clocks: others.into_iter().map(clock).chain([ClockId::CLOCK_PROCESS_CPUTIME_ID]).collect() }
    }

    fn now(&self) -> Duration {
        self.clocks.iter().map(|clock| Duration::from(clock.now().expect("the process still runs"))).sum()
    }
}

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        self.now()
    }

    fn end(&self, start: Duration) -> Duration {
        self.now().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}
