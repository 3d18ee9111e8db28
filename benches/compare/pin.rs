//! Which CPU does what: the proxy alone on one, client and origin on another.

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// The CPUs of a run. Both are the same on a machine with one.
pub(crate) struct Cpus {
    pub(crate) proxy: usize,
    pub(crate) load: usize,
}

impl Cpus {
    /// The first and the last one that this process may use.
    pub(crate) fn choose() -> Self {
        let usable = sched_getaffinity(Pid::from_raw(0)).expect("a process may ask where it runs");
        let mut cpus = (0..CpuSet::count()).filter(|&cpu| usable.is_set(cpu).unwrap_or(false));
        let proxy = cpus.next().expect("it runs somewhere");
        Self { proxy, load: cpus.next_back().unwrap_or(proxy) }
    }
}

/// Does something on these CPUs: children that it starts stay there. This
/// process is on `home` afterwards.
pub(crate) fn on<T>(cpus: &[usize], home: usize, act: impl FnOnce() -> T) -> T {
    pin(cpus);
    let done = act();
    pin(&[home]);
    done
}

/// Keeps this process and the children to come on these CPUs.
pub(crate) fn pin(cpus: &[usize]) {
    let mut set = CpuSet::new();
    let chosen = cpus.iter().try_for_each(|&cpu| set.set(cpu));
    let pinned = chosen.and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    pinned.expect("a process may choose among its CPUs");
}
