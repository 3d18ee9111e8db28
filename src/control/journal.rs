//! What happened, told to those who watch and to the log.

use tokio::sync::broadcast;

use super::{
    clock::Clock,
    request::{Event, EventKind, Provenance},
};

/// Writes every event to the watchers and to the log.
#[derive(Debug)]
pub(super) struct Journal {
    sender: broadcast::Sender<Event>,
    clock: Clock,
}

impl Journal {
    pub(super) fn new(sender: broadcast::Sender<Event>, clock: Clock) -> Self {
        Self { sender, clock }
    }

    /// Something that somebody asked for.
    pub(super) fn asked(&self, kind: EventKind, object: &str, text: &str, by: &Provenance) {
        if kind == EventKind::ReloadRefused {
            tracing::warn!(event = kind.as_str(), object, who = by.who, why = by.why, "{text}");
        } else {
            tracing::info!(event = kind.as_str(), object, who = by.who, why = by.why, "{text}");
        }
        self.tell(kind, object, text, Some(by.clone()));
    }

    /// Something that came by itself.
    pub(super) fn seen(&self, kind: EventKind, object: &str, text: &str) {
        match kind {
            EventKind::ListenerPaused | EventKind::EndpointFailing => {
                tracing::warn!(event = kind.as_str(), object, "{text}");
            }
            _ => tracing::info!(event = kind.as_str(), object, "{text}"),
        }
        self.tell(kind, object, text, None);
    }

    fn tell(&self, kind: EventKind, object: &str, text: &str, by: Option<Provenance>) {
        let event = Event { at: self.clock.now().wall, kind, object: object.to_owned(), text: text.to_owned(), by };
        // Nobody watching is no fault.
        let _ = self.sender.send(event);
    }
}
