//! What a process uses, as the kernel counts it.

use std::{fs, time::Duration};

use nix::{
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};

/// A process that is watched from outside.
pub(crate) struct Watched {
    id: u32,
    clock: ClockId,
}

/// CPU time since its start, of all its threads.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// User and system, to the nanosecond.
    pub(crate) total: Duration,
    /// Clock ticks in user mode and in the kernel: coarse, for the share only.
    pub(crate) user: u64,
    pub(crate) system: u64,
}

impl Watched {
    pub(crate) fn new(id: u32) -> Self {
        let clock = clock_getcpuclockid(Pid::from_raw(id as i32)).expect("the proxy runs");
        Self { id, clock }
    }

    pub(crate) fn cpu(&self) -> Cpu {
        let total = self.clock.now().map(Duration::from).expect("the proxy still runs");
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id)).expect("the proxy still runs");
        // proc(5): the name ends with the last bracket; utime and stime are the
        // 12th and 13th field after it.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse().ok()).unwrap_or(0);
        Cpu { total, user: ticks(11), system: ticks(12) }
    }

    /// Memory that is its own, and its part of what it shares (PSS), in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.id)).expect("the proxy still runs");
        kilobytes(&text, "Pss:") * 1024
    }
}

/// Memory that the kernel uses for its own objects, in bytes: of the whole
/// machine.
pub(crate) fn kernel_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("the kernel tells of its memory");
    kilobytes(&text, "SUnreclaim:") * 1024
}

/// Of the last 1, 5 and 15 minutes.
pub(crate) fn load_average() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// TCP segments that had to be sent again since the start of the machine, by
/// everybody.
pub(crate) fn retransmits() -> u64 {
    let text = fs::read_to_string("/proc/net/snmp").expect("the kernel counts segments");
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut fields = names.split(' ').zip(values.split(' '));
    fields.find(|(name, _)| *name == "RetransSegs").and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
