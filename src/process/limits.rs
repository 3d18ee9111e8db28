//! What the process may use and does use.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use nix::{
    sched::{CpuSet, sched_getaffinity},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{Pid, SysconfVar, sysconf},
};

/// Raises the soft limit of open file descriptors to the hard one; returns the
/// limit in force. Call it before anything counts on descriptors.
///
/// # Errors
/// What getrlimit(2) and setrlimit(2) say.
pub fn raise_fd_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// The soft limit of open file descriptors.
///
/// # Errors
/// What getrlimit(2) says.
pub fn fd_limit() -> io::Result<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
}

/// CPUs that this thread may run on, ascending; never empty.
pub fn usable_cpus() -> Vec<u32> {
    let listed: Vec<u32> = match sched_getaffinity(Pid::from_raw(0)) {
        Ok(set) => (0u32..).take(CpuSet::count()).filter(|&cpu| set.is_set(cpu as usize).unwrap_or(false)).collect(),
        Err(_) => Vec::new(),
    };
    if !listed.is_empty() {
        return listed;
    }
    // More CPUs than the set holds: their number is all that is known.
    let count = std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
    (0..count).collect()
}

/// Reads what this process uses. Needs no further file descriptor once open, so
/// it answers when there is none left.
#[derive(Debug)]
pub struct Usage {
    statm: File,
    page_size: u64,
}

impl Usage {
    /// To be opened in the process it is to speak of: after the last fork.
    ///
    /// # Errors
    /// If /proc is not there.
    pub fn open() -> io::Result<Self> {
        let page_size = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096);
        Ok(Self { statm: File::open("/proc/self/statm")?, page_size })
    }

    /// Open file descriptors.
    ///
    /// # Errors
    /// If /proc is not there.
    pub fn open_fds(&self) -> io::Result<u64> {
        // Since Linux 6.2 the directory's size is the count.
        match fs::metadata("/proc/self/fd")?.len() {
            0 => match fs::read_dir("/proc/self/fd") {
                // Less the one that the listing itself takes.
                Ok(entries) => Ok((entries.count() as u64).saturating_sub(1)),
                Err(error) if error.raw_os_error() == Some(libc::EMFILE) => fd_limit(),
                Err(error) => Err(error),
            },
            count => Ok(count),
        }
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// If the kernel's answer makes no sense.
    pub fn resident_memory(&self) -> io::Result<u64> {
        let mut buffer = [0; 128];
        let length = self.statm.read_at(&mut buffer, 0)?;
        resident_pages(&buffer[..length])
            .map(|pages| pages * self.page_size)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/statm is not as proc(5) says"))
    }
}

/// Memory that the control group of this process may have (memory.max of
/// cgroup v2), and those above it: the least of them in bytes. `None`: there is
/// no limit, or it cannot be told.
pub fn group_memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let own = root.join(group);
    let up = own.ancestors().take_while(|path| path.starts_with(root));
    up.filter_map(|path| fs::read_to_string(path.join("memory.max")).ok()?.trim().parse().ok()).min()
}

fn resident_pages(statm: &[u8]) -> Option<u64> {
    std::str::from_utf8(statm).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::testing;

    #[test]
    fn cpus_are_ascending_and_some() {
        let cpus = usable_cpus();
        assert!(!cpus.is_empty());
        assert!(cpus.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn statm_is_read_as_proc_says() {
        assert_eq!(resident_pages(b"5000 1234 700 1 0 300 0\n"), Some(1234));
        assert_eq!(resident_pages(b"5000"), None);
        assert_eq!(resident_pages(b""), None);
    }

    #[test]
    fn the_soft_limit_rises_to_the_hard_one_and_usage_needs_no_descriptor() {
        testing::in_own_process("process::limits::tests::child_without_descriptors");
    }

    #[test]
    #[ignore = "run in a process of its own by another test"]
    fn child_without_descriptors() {
        if !testing::is_own_process() {
            return;
        }
        setrlimit(Resource::RLIMIT_NOFILE, 64, 128).unwrap();
        assert_eq!(raise_fd_limit().unwrap(), 128);
        assert_eq!(fd_limit().unwrap(), 128);

        let usage = Usage::open().unwrap();
        let before = usage.open_fds().unwrap();
        let mut files = vec![File::open("/dev/null").unwrap()];
        assert_eq!(usage.open_fds().unwrap(), before + 1);
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }
        assert_eq!(usage.open_fds().unwrap(), before + files.len() as u64);
        assert!(usage.resident_memory().unwrap() > 64 * 1024);
        drop(files);
        assert_eq!(usage.open_fds().unwrap(), before);
    }
}
