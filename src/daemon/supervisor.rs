//! Those who want to know how netd is: systemd, and the process that waits for
//! a detached daemon.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{control::Hook, process::notify::Notify};

/// Between heartbeats, if no watchdog wants them more often.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Speaks to the service manager, if there is one.
#[derive(Debug, Clone)]
pub(super) struct Supervisor {
    notify: Arc<Notify>,
    /// Whether this process answers operators.
    answering: Arc<watch::Sender<bool>>,
}

impl Supervisor {
    /// `answering`: whether this process answers operators from the beginning.
    pub(super) fn new(notify: Notify, answering: bool) -> Self {
        Self { notify: Arc::new(notify), answering: Arc::new(watch::channel(answering).0) }
    }

    /// Follows whether this process answers operators.
    pub(super) fn answering(&self) -> watch::Receiver<bool> {
        self.answering.subscribe()
    }

    /// Another process is the daemon from now on.
    pub(super) fn main_pid(&self, pid: u32) {
        self.notify.main_pid(pid);
    }

    /// Carries the Controller's word to the service manager.
    pub(super) fn hooks(&self) -> Box<dyn FnMut(Hook) + Send> {
        let (notify, answering) = (Arc::clone(&self.notify), Arc::clone(&self.answering));
        Box::new(move |hook| match hook {
            Hook::Answer(answer) => drop(answering.send_replace(answer)),
            Hook::Ready(status) => notify.ready(&status),
            Hook::Reloading => notify.reloading(),
            Hook::Stopping => notify.stopping("stopping"),
            Hook::Status(status) => notify.status(&status),
            Hook::Watchdog => notify.watchdog(),
            Hook::ExtendTimeout(time) => notify.extend_timeout(time),
        })
    }

    /// How often to look after the workers: three times in the watchdog's
    /// time, so that one late answer does not kill the daemon.
    pub(super) fn heartbeat(&self) -> Duration {
        let wanted = self.notify.watchdog_interval().map_or(HEARTBEAT, |interval| interval / 3);
        wanted.clamp(Duration::from_millis(10), HEARTBEAT)
    }
}
