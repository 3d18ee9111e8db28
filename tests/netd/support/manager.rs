//! A service manager's end of sd_notify(3).

use std::{collections::BTreeMap, os::unix::net::UnixDatagram, path::Path, time::Duration};

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
