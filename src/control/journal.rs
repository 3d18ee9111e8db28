//! What happened, told to those who watch and to the log.

use std::borrow::Cow;

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
        let text = &one_line(text);
        let (event, about, why) = (kind.as_str(), some(object), some(&by.why));
        if matches!(kind, EventKind::ReloadRefused | EventKind::ReloadReverted) {
            tracing::warn!(event, object = about, who = by.who, why, "{text}");
        } else {
            tracing::info!(event, object = about, who = by.who, why, "{text}");
        }
        self.tell(kind, object, text, Some(by.clone()));
    }

    /// Something that came by itself.
    pub(super) fn seen(&self, kind: EventKind, object: &str, text: &str) {
        let text = &one_line(text);
        let (event, about) = (kind.as_str(), some(object));
        match kind {
            EventKind::ListenerPaused | EventKind::EndpointFailing | EventKind::ReloadReverted => {
                tracing::warn!(event, object = about, "{text}");
            }
            _ => tracing::info!(event, object = about, "{text}"),
        }
        self.tell(kind, object, text, None);
    }

    /// Tells who watches, and not the log.
    pub(super) fn tell(&self, kind: EventKind, object: &str, text: &str, by: Option<Provenance>) {
        let event = Event { at: self.clock.now().wall, kind, object: object.to_owned(), text: text.to_owned(), by };
        // Nobody watching is no fault.
        let _ = self.sender.send(event);
    }
}

/// An event is a line; a report of several lines is told whole to who asked, and
/// in the status.
fn one_line(text: &str) -> Cow<'_, str> {
    let text = text.trim_end();
    match text.split_once('\n') {
        None => text.into(),
        Some((first, rest)) => {
            let (more, s) = (rest.lines().count(), if rest.lines().nth(1).is_some() { "s" } else { "" });
            format!("{} ({more} more line{s})", first.trim_end()).into()
        }
    }
}

/// The daemon has no name, and not everybody says why: no field then.
fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        assert_eq!(one_line("plain"), "plain");
        assert_eq!(one_line("plain\n"), "plain");
        assert_eq!(one_line("wrong: x\n --> netd.toml:1:1"), "wrong: x (1 more line)");
        assert_eq!(one_line("wrong: x\n\n --> netd.toml:1:1\n"), "wrong: x (2 more lines)");
    }
}
