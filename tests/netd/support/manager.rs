//! A service manager's end of sd_notify(3).

use std::{
    collections::BTreeMap,
    os::unix::net::UnixDatagram,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::clock::{PATIENCE, within};

/// Listens where NOTIFY_SOCKET points to.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: UnixDatagram,
    /// All that was heard.
    pub(crate) heard: Vec<Message>,
}

/// One datagram: assignments by name.
pub(crate) type Message = BTreeMap<String, String>;

impl Manager {
    pub(crate) fn listening_at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket to be notified on");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        Self { socket, heard: Vec::new() }
    }

    /// Waits for the next message that assigns `name`.
    #[track_caller]
    pub(crate) fn hears(&mut self, name: &str) -> Message {
        let found = within(PATIENCE, || self.next().filter(|message| message.contains_key(name)));
        found.unwrap_or_else(|| panic!("{name} is not notified; heard: {:#?}", self.heard))
    }

    /// The next message, if one comes soon.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let mut buffer = [0; 8192];
        let length = self.socket.recv(&mut buffer).ok()?;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let assignments = text.lines().filter_map(|line| line.split_once('='));
        let message: Message = assignments.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.heard.push(message.clone());
        Some(message)
    }
}

/// A manager that listens all the time: what nobody reads is lost once a few
/// messages wait.
#[derive(Debug)]
pub(crate) struct Listening {
    heard: Arc<Mutex<Vec<Message>>>,
    enough: Arc<AtomicBool>,
}

impl Manager {
    pub(crate) fn listen(mut self) -> Listening {
        let (heard, enough) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let listening = Listening { heard: Arc::clone(&heard), enough: Arc::clone(&enough) };
        thread::spawn(move || {
            while !enough.load(Ordering::Acquire) {
                if let Some(message) = self.next() {
                    heard.lock().expect("no panic").push(message);
                }
            }
        });
        listening
    }
}

impl Listening {
    /// What `name` was assigned last.
    pub(crate) fn last(&self, name: &str) -> Option<String> {
        self.heard.lock().expect("no panic").iter().rev().find_map(|message| message.get(name)).cloned()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Release);
    }
}
