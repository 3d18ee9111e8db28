//! Counts what falls into the window of a job.

use std::time::{Duration, Instant};

use crate::{
    generator::{Job, Sample, now},
    histogram::Histogram,
    usage::{Cpu, Watched, retransmits},
};

pub(super) struct Meter {
    begin: Instant,
    window: Duration,
    proxy: Option<Watched>,
    /// When the window opened, what the proxy had used and everybody had sent
    /// twice by then.
    opened: Option<(Instant, Cpu, u64)>,
    histogram: Histogram,
    bytes: u64,
    failures: u64,
}

impl Meter {
    pub(super) fn new(job: &Job) -> Self {
        Self {
            begin: now() + job.warm_up,
            window: job.window,
            proxy: job.proxy.map(Watched::new),
            opened: None,
            histogram: Histogram::new(),
            bytes: 0,
            failures: 0,
        }
    }

    /// Opens the window when it is time; answers whether its end has come.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        match self.opened {
            None if now >= self.begin => {
                self.opened = Some((now, self.cpu(), retransmits()));
                false
            }
            None => false,
            Some((opened, ..)) => now >= opened + self.window,
        }
    }

    /// How long to wait for events at most.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(20)
    }

    pub(super) fn operation(&mut self, latency: Duration) {
        if self.opened.is_some() {
            self.histogram.record(latency);
        }
    }

    pub(super) fn bytes(&mut self, bytes: usize) {
        if self.opened.is_some() {
            self.bytes += bytes as u64;
        }
    }

    /// Counts in the warm-up, too: none is to be lost.
    pub(super) fn failure(&mut self) {
        self.failures += 1;
    }

    pub(super) fn finish(self) -> Sample {
        let (opened, before, sent_twice) = self.opened.expect("the window was opened before it was over");
        let cpu = self.cpu();
        let (user, system) = (cpu.user - before.user, cpu.system - before.system);
        Sample {
            seconds: (now() - opened).as_secs_f64(),
            operations: self.histogram.total(),
            failures: self.failures,
            bytes: self.bytes,
            latency: [0.5, 0.99, 0.999, 1.0].map(|quantile| self.histogram.quantile(quantile)),
            cpu: self.proxy.is_some().then(|| (cpu.total - before.total).as_nanos() as u64),
            system: system as f64 / (user + system).max(1) as f64,
            retransmits: retransmits() - sent_twice,
            memory: None,
            kernel: 0,
        }
    }

    fn cpu(&self) -> Cpu {
        self.proxy.as_ref().map(Watched::cpu).unwrap_or_default()
    }
}
