//! Processes as /proc shows them.

use std::{fs, path::PathBuf, time::Duration};

/// A process, alive or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(pub(crate) i32);

impl Process {
    /// Lines of /proc/PID/status by their names.
    #[track_caller]
    pub(crate) fn status(self, name: &str) -> String {
        let status = self.read("status");
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("/proc/{}/status has no {name}", self.0)).trim().to_owned()
    }

    /// Fields of /proc/PID/stat; 0 is the state, as the name before it may hold
    /// anything.
    #[track_caller]
    pub(crate) fn stat(self) -> Vec<String> {
        let stat = self.read("stat");
        stat.rsplit_once(')').expect("a name in parentheses").1.split_whitespace().map(str::to_owned).collect()
    }

    /// Every thread is stopped (SIGSTOP), so that it does nothing more.
    pub(crate) fn is_stopped(self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).into_iter().flatten().flatten();
        let state = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        };
        tasks.map(state).fold(None, |all, stopped| Some(all.unwrap_or(true) && stopped)) == Some(true)
    }

    pub(crate) fn parent(self) -> i32 {
        self.number(1)
    }

    pub(crate) fn session(self) -> i32 {
        self.number(3)
    }

    /// 0: none.
    pub(crate) fn terminal(self) -> i32 {
        self.number(4)
    }

    /// User and system time used.
    pub(crate) fn cpu_time(self) -> Duration {
        let ticks = self.number(11) + self.number(12);
        Duration::from_millis(u64::try_from(ticks).expect("no negative time") * 10)
    }

    /// Resident bytes.
    pub(crate) fn resident(self) -> u64 {
        let text = self.status("VmRSS");
        text.trim_end_matches(" kB").parse::<u64>().expect("a number of kB") * 1024
    }

    /// Numbers of open file descriptors.
    pub(crate) fn fds(self) -> Vec<i32> {
        let entries = fs::read_dir(self.path("fd")).unwrap_or_else(|error| panic!("fds of {}: {error}", self.0));
        let name = |entry: fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse().ok());
        let mut fds: Vec<i32> = entries.filter_map(|entry| name(entry.ok()?)).collect();
        fds.sort_unstable();
        fds
    }

    pub(crate) fn link(self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::read_link(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Running, not a zombie.
    pub(crate) fn is_alive(self) -> bool {
        let stat = fs::read_to_string(self.path("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    /// Signals of a mask such as `SigIgn`, bit 0 being signal 1.
    #[track_caller]
    pub(crate) fn signals(self, name: &str) -> u64 {
        u64::from_str_radix(&self.status(name), 16).expect("a hexadecimal mask")
    }

    fn number(self, field: usize) -> i32 {
        self.stat()[field].parse().expect("a number")
    }

    fn path(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0))
    }

    /// A file of /proc/PID.
    #[track_caller]
    pub(crate) fn read(self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}
