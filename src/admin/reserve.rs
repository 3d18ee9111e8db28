//! File descriptors kept back for the day when the process has none left.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::{fcntl::OFlag, unistd::dup3};

/// A few file descriptors that can be given up to let another be opened.
///
/// They are duplicates of one on `/dev/null`, so that refilling needs no path
/// and works after a chroot.
#[derive(Debug)]
pub(super) struct Reserve {
    seed: OwnedFd,
    spare: Mutex<Vec<OwnedFd>>,
    size: usize,
}

impl Reserve {
    /// Opens `size` spare file descriptors, and one more that stays.
    ///
    /// # Errors
    /// When the system has not that many, or no `/dev/null`.
    pub(super) fn new(size: usize) -> io::Result<Self> {
        let seed = OwnedFd::from(File::open("/dev/null")?);
        let spare = (0..size).map(|_| seed.try_clone()).collect::<io::Result<_>>()?;
        Ok(Self { seed, spare: Mutex::new(spare), size })
    }

    /// Closes one spare, so that the next open or accept finds a number, unless
    /// another thread is faster. False: there is none left.
    pub(super) fn release(&self) -> bool {
        self.spare().pop().is_some()
    }

    /// Closes `fd`. Where spares are missing, its number becomes one at the same
    /// instant: no other thread can take it in between.
    pub(super) fn absorb(&self, mut fd: OwnedFd) {
        let mut spare = self.spare();
        if spare.len() < self.size && dup3(&self.seed, &mut fd, OFlag::O_CLOEXEC).is_ok() {
            spare.push(fd);
        }
    }

    /// Opens the spares that are missing, as far as the system has any.
    pub(super) fn refill(&self) {
        let mut spare = self.spare();
        while spare.len() < self.size {
            let Ok(fd) = self.seed.try_clone() else { return };
            spare.push(fd);
        }
    }

    /// How many spares are missing.
    pub(super) fn missing(&self) -> usize {
        self.size - self.spare().len()
    }

    /// Runs something that opens a file or two for a moment.
    pub(super) fn lend<T>(&self, short: impl FnOnce() -> T) -> T {
        self.release();
        self.release();
        let result = short();
        self.refill();
        result
    }

    fn spare(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        os::{fd::AsRawFd, unix::net::UnixStream},
    };

    use super::*;

    #[test]
    fn gives_up_what_it_has_and_gets_it_back() {
        let reserve = Reserve::new(2).expect("two descriptors");
        assert!(reserve.release());
        assert!(reserve.release());
        assert!(!reserve.release());
        assert_eq!(reserve.missing(), 2);
        reserve.refill();
        assert_eq!(reserve.missing(), 0);
    }

    #[test]
    fn an_absorbed_descriptor_is_closed_and_keeps_its_number() {
        let reserve = Reserve::new(1).expect("a descriptor");
        assert!(reserve.release());
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let number = ours.as_raw_fd();
        reserve.absorb(ours.into());
        assert_eq!(reserve.spare().first().map(AsRawFd::as_raw_fd), Some(number));
        assert_eq!(theirs.read(&mut [0]).expect("end of stream"), 0);
    }

    #[test]
    fn a_full_reserve_only_closes() {
        let reserve = Reserve::new(1).expect("a descriptor");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        reserve.absorb(ours.into());
        assert_eq!(reserve.missing(), 0);
        assert_eq!(theirs.read(&mut [0]).expect("end of stream"), 0);
    }

    #[test]
    fn lending_leaves_it_full() {
        let reserve = Reserve::new(3).expect("three descriptors");
        assert_eq!(reserve.lend(|| reserve.missing()), 2);
        assert_eq!(reserve.missing(), 0);
    }
}
