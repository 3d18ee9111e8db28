//! What a process uses, as the kernel counts it.

use std::{fs, time::Duration};

use nix::{
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};

/// A process that is watched from outside, with those that it started and that
/// are in its group, as a worker process is.
pub(crate) struct Watched {
    processes: Vec<(u32, ClockId)>,
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
    /// `id` leads a group of processes.
    pub(crate) fn new(id: u32) -> Self {
        let clock = |id| clock_getcpuclockid(Pid::from_raw(id as i32)).expect("the proxy runs");
        Self { processes: group(id).into_iter().map(|id| (id, clock(id))).collect() }
    }

    pub(crate) fn cpu(&self) -> Cpu {
        let mut cpu = Cpu::default();
        for (id, clock) in &self.processes {
            cpu.total += clock.now().map(Duration::from).expect("the proxy still runs");
            let stat = stat(*id).expect("the proxy still runs");
            cpu.user += stat.user;
            cpu.system += stat.system;
        }
        cpu
    }

    /// Memory that is its own, and its part of what it shares (PSS), in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let memory = |id: &u32| {
            let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).expect("the proxy still runs");
            kilobytes(&text, "Pss:") * 1024
        };
        self.processes.iter().map(|(id, _)| memory(id)).sum()
    }
}

/// Of a process, from /proc.
struct Stat {
    group: u32,
    user: u64,
    system: u64,
}

fn stat(id: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // proc(5): the name ends with the last bracket; pgrp, utime and stime are
    // the 3rd, 12th and 13th field after it.
    let fields: Vec<&str> = text.rsplit(") ").next()?.split(' ').collect();
    let field = |index: usize| fields.get(index)?.parse().ok();
    Some(Stat { group: u32::try_from(field(2)?).ok()?, user: field(11)?, system: field(12)? })
}

fn group(leader: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("the system tells of its processes");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|&id| stat(id).is_some_and(|stat: Stat| stat.group == leader)).collect()
}

/// Memory that the kernel uses for its own objects, in bytes: of the whole
/// machine.
pub(crate) fn kernel_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("the kernel tells of its memory");
    kilobytes(&text, "SUnreclaim:") * 1024
}

/// The kernel, by its own words.
pub(crate) fn system() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}", release.trim())
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
