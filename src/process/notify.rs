//! What netd tells a service manager (sd_notify(3)), and the watchdog's terms
//! (sd_watchdog_enabled(3)).
//!
//! Never blocks and never fails: a service manager that does not listen is no
//! reason for netd to stop.

use std::{
    fmt::Write,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

use super::Env;
use crate::sys::channel;

/// Most bytes of a status text.
const MAX_STATUS: usize = 1024;

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// Tells nobody.
    pub fn off() -> Self {
        Self::default()
    }

    /// Reads NOTIFY_SOCKET (a path, or `@name` for the abstract namespace), WATCHDOG_USEC and WATCHDOG_PID. Without the
    /// first, or with one that makes no sense, nobody is told.
    ///
    /// The caller removes the three from the environment, so that no child
    /// speaks in netd's name.
    pub fn from_env(env: Env<'_>, own_pid: u32) -> Self {
        let to = env("NOTIFY_SOCKET").and_then(|name| destination(&name).ok());
        Self { to, watchdog: watchdog_interval(env, own_pid) }
    }

    /// Whether anybody is told.
    pub fn is_on(&self) -> bool {
        self.to.is_some()
    }

    /// Start or reload is complete.
    pub fn ready(&self, status: &str) {
        self.send("READY=1", Some(status));
    }

    /// A reload begins; [`ready`](Self::ready) must follow. Carries the time,
    /// as `Type=notify-reload` asks.
    pub fn reloading(&self) {
        let microseconds = clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map_or(0, |now| i128::from(now.tv_sec()) * 1_000_000 + i128::from(now.tv_nsec()) / 1000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"), None);
    }

    /// The daemon begins to stop.
    pub fn stopping(&self, status: &str) {
        self.send("STOPPING=1", Some(status));
    }

    /// What `systemctl status` shows: one line.
    pub fn status(&self, text: &str) {
        self.send("", Some(text));
    }

    /// Feeds the watchdog.
    pub fn watchdog(&self) {
        self.send("WATCHDOG=1", None);
    }

    /// Asks for this much more time, from now, to start, reload or stop.
    pub fn extend_timeout(&self, time: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()), None);
    }

    /// Another process is the service's main process from now on; answers
    /// whether that could be told.
    pub fn main_pid(&self, pid: u32) -> bool {
        self.send(&format!("MAINPID={pid}"), None)
    }

    /// Keep this descriptor under this name; answers whether that could be
    /// told.
    pub fn store(&self, name: &str, fd: BorrowedFd<'_>) -> bool {
        let Some((_, address)) = &self.to else { return true };
        let message = format!("FDSTORE=1\nFDNAME={}", one_line(name));
        // A socket of its own, as sending descriptors takes a connected one.
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.connect_addr(address)?;
            channel::send(socket.as_fd(), message.as_bytes(), &[fd])
        });
        sent.is_ok()
    }

    /// Keep nothing under this name any more; answers whether that could be
    /// told.
    pub fn forget(&self, name: &str) -> bool {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={}", one_line(name)), None)
    }

    /// The watchdog bites if it is not fed for so long; feed it at least twice
    /// as often. `None`: there is no watchdog, or not for this process.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Answers whether it was sent. That is so, too, where nobody is told.
    fn send(&self, state: &str, status: Option<&str>) -> bool {
        let Some((socket, address)) = &self.to else { return true };
        let mut message = state.to_owned();
        if let Some(text) = status {
            if !message.is_empty() {
                message.push('\n');
            }
            let _ = write!(message, "STATUS={}", one_line(text));
        }
        // A full queue loses the message rather than time; the next status or feed follows soon.
        socket.send_to_addr(message.as_bytes(), address).is_ok()
    }
}

fn destination(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
        None if name.starts_with('/') => SocketAddr::from_pathname(name)?,
        None => return Err(io::Error::from(io::ErrorKind::Unsupported)),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

fn watchdog_interval(env: Env<'_>, own_pid: u32) -> Option<Duration> {
    if env("WATCHDOG_PID").is_some_and(|pid| pid.parse() != Ok(own_pid)) {
        return None;
    }
    let microseconds = env("WATCHDOG_USEC")?.parse().ok().filter(|&microseconds: &u64| microseconds > 0)?;
    Some(Duration::from_micros(microseconds))
}

/// A line end in a value would begin another assignment.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_STATUS));
    for character in text.chars().map(|character| if character.is_control() { ' ' } else { character }) {
        if line.len() + character.len_utf8() > MAX_STATUS {
            break;
        }
        line.push(character);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notify(name: &str) -> Notify {
        Notify::from_env(&|variable| (variable == "NOTIFY_SOCKET").then(|| name.to_owned()), 7)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_service_manager_hears_everything_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = notify(path.to_str().unwrap());
        assert!(notify.is_on());

        notify.ready("serving");
        assert_eq!(heard(&manager), "READY=1\nSTATUS=serving");
        notify.status("3 connections\nMAINPID=1");
        assert_eq!(heard(&manager), "STATUS=3 connections MAINPID=1");
        notify.watchdog();
        assert_eq!(heard(&manager), "WATCHDOG=1");
        notify.extend_timeout(Duration::from_millis(1500));
        assert_eq!(heard(&manager), "EXTEND_TIMEOUT_USEC=1500000");
        notify.main_pid(42);
        assert_eq!(heard(&manager), "MAINPID=42");
        notify.stopping("draining");
        assert_eq!(heard(&manager), "STOPPING=1\nSTATUS=draining");

        let before = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap().tv_sec() * 1_000_000;
        notify.reloading();
        let text = heard(&manager);
        let microseconds: i64 = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(microseconds >= before);
    }

    #[test]
    fn the_abstract_namespace_works() {
        let name = format!("netd-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        notify(&format!("@{name}")).ready("");
        assert_eq!(heard(&manager), "READY=1\nSTATUS=");
    }

    #[test]
    fn nobody_there_or_nobody_reading_is_no_fault() {
        for name in ["", "relative", "vsock:2:1", "/nonexistent/notify", "@nobody"] {
            notify(name).ready("serving");
        }
        assert!(!Notify::from_env(&|_| None, 7).is_on());
        Notify::off().ready("serving");

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let notify = notify(path.to_str().unwrap());
        // Far more than net.unix.max_dgram_qlen: a blocking send would hang here.
        for _ in 0..10_000 {
            notify.watchdog();
        }
    }

    #[test]
    fn the_watchdog_is_for_the_process_it_names() {
        let interval = |usec: Option<&str>, pid: Option<&str>| {
            let env = |name: &str| match name {
                "WATCHDOG_USEC" => usec.map(str::to_owned),
                "WATCHDOG_PID" => pid.map(str::to_owned),
                _ => None,
            };
            Notify::from_env(&env, 7).watchdog_interval()
        };
        assert_eq!(interval(Some("2000000"), None), Some(Duration::from_secs(2)));
        assert_eq!(interval(Some("2000000"), Some("7")), Some(Duration::from_secs(2)));
        assert_eq!(interval(Some("2000000"), Some("8")), None);
        assert_eq!(interval(Some("2000000"), Some("x")), None);
        assert_eq!(interval(Some("0"), None), None);
        assert_eq!(interval(Some("soon"), None), None);
        assert_eq!(interval(None, Some("7")), None);
    }

    #[test]
    fn a_status_is_one_bounded_line() {
        assert_eq!(one_line("a\nb\tc\u{1b}"), "a b c ");
        assert_eq!(one_line(&"€".repeat(1000)).len(), 1023);
    }
}
