//! Those who want to know how netd is: systemd, and the process that waits for
//! a detached daemon.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    config::Address,
    control::{Hook, Keep},
    listen::Shelved,
    process::{
        activation::Inherited,
        fdstore::{FdStore, Left},
        notify::Notify,
    },
};

/// Between heartbeats, if no watchdog wants them more often.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Speaks to the service manager, if there is one.
#[derive(Debug, Clone)]
pub(super) struct Supervisor {
    notify: Arc<Notify>,
    /// Listening sockets that it keeps.
    store: Arc<Mutex<FdStore>>,
    /// Whether this process answers operators.
    answering: Arc<watch::Sender<bool>>,
}

impl Supervisor {
    /// `answering`: whether this process answers operators from the beginning.
    pub(super) fn new(notify: Notify, store: FdStore, answering: bool) -> Self {
        let store = Arc::new(Mutex::new(store));
        Self { notify: Arc::new(notify), store, answering: Arc::new(watch::channel(answering).0) }
    }

    /// Follows whether this process answers operators.
    pub(super) fn answering(&self) -> watch::Receiver<bool> {
        self.answering.subscribe()
    }

    /// This process or another is the daemon from now on; answers whether that
    /// could be told. Another one keeps its sockets itself: the manager listens
    /// to the main process only.
    pub(super) fn main_pid(&self, pid: u32) -> bool {
        if pid != std::process::id() {
            self.store.lock().unwrap_or_else(PoisonError::into_inner).clear(&self.notify);
        }
        self.notify.main_pid(pid)
    }

    /// What was kept for an earlier netd; what nobody wants is forgotten.
    pub(super) fn left(&self, passed: Vec<Inherited>, listeners: &[(&str, &Address)]) -> Left {
        let mut left = self.store.lock().unwrap_or_else(PoisonError::into_inner).sort(passed, listeners);
        for name in left.stale.drain(..) {
            tracing::info!(name, "a socket that systemd has kept is closed: no listener has its name and address");
            self.notify.forget(&name);
        }
        left
    }

    /// Has the service manager keep listening sockets; `None`: it does not.
    pub(super) fn keep(&self) -> Option<Keep> {
        let (notify, store) = (Arc::clone(&self.notify), Arc::clone(&self.store));
        let lock = |store: &Mutex<FdStore>, sockets: &[Shelved], notify: &Notify| {
            store.lock().unwrap_or_else(PoisonError::into_inner).keep(sockets, notify)
        };
        let on = self.notify.is_on() && store.lock().unwrap_or_else(PoisonError::into_inner).is_on();
        on.then(|| -> Keep { Box::new(move |sockets| lock(&store, &sockets, &notify)) })
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
