//! The sockets of a listener that one worker has: mostly one, more if another
//! worker's were given to it. They begin, rest, end and leave together.

use std::{io, time::Duration};

use super::{GRACE, Listener, PATIENCE, Stopping};
use crate::{
    config::Address,
    listen::{Duplicate, ListenSocket},
    reactor::Turn,
    slots::SlotId,
    worker::{
        command::{ListenerId, ListenerSpec, Reply},
        outgoing::socket_options,
        run::Worker,
    },
};

/// Options that need no other socket.
fn change_options(listener: &Listener, spec: &ListenerSpec) {
    let (old, new) = (&listener.spec.config, &spec.config);
    if old.tcp == new.tcp || !matches!(new.address, Address::Inet(_)) {
        return;
    }
    if let Err(refused) = listener.socket.change_options(&socket_options(&old.tcp), &socket_options(&new.tcp)) {
        tracing::error!(listener = %new.name, "its socket does not take the option {refused}");
    }
}

impl Worker {
    /// Takes on other settings.
    pub(in crate::worker) fn update_listener(&mut self, spec: &ListenerSpec) {
        for slot in self.sockets_of(spec.id) {
            let Some(listener) = self.listeners.get_mut(slot) else { continue };
            if listener.spec.config.backlog != spec.config.backlog {
                listener.socket.set_backlog(spec.config.backlog);
            }
            change_options(listener, spec);
            listener.update(spec.clone());
        }
    }

    /// Begins the end of a listener; answers when its sockets are closed.
    pub(in crate::worker) fn stop_listener(&mut self, id: ListenerId, reply: Reply<()>, turn: &mut Turn<'_>) {
        let slots = self.sockets_of(id);
        for &slot in &slots {
            let Some(listener) = self.listeners.get_mut(slot) else { continue };
            if listener.stopping.is_none() {
                listener.held = false;
                listener.socket.refuse_new();
                let grace = if listener.socket.needs_grace() { GRACE } else { Duration::ZERO };
                let (grace, patience) = (turn.now + grace, turn.now + PATIENCE);
                listener.stopping = Some(Stopping { replies: Vec::new(), grace, patience });
            }
        }
        self.stopped(id, vec![reply]);
        slots.into_iter().for_each(|slot| self.accept(slot, turn));
    }

    /// Those who wait for the end of a listener wait for its last socket.
    pub(super) fn stopped(&mut self, id: ListenerId, mut replies: Vec<Reply<()>>) {
        for slot in self.sockets_of(id) {
            if let Some(stopping) = self.listeners.get_mut(slot).and_then(|listener| listener.stopping.as_mut()) {
                return stopping.replies.append(&mut replies);
            }
        }
        replies.into_iter().for_each(|reply| reply.send(()));
    }

    /// Gives a listener's sockets away with what waits in their queues; not
    /// those that are stopping.
    pub(in crate::worker) fn release_listener(&mut self, id: ListenerId, turn: &mut Turn<'_>) -> Vec<ListenSocket> {
        let mut slots = self.sockets_of(id);
        slots.retain(|&slot| self.listeners.get(slot).is_some_and(|listener| listener.stopping.is_none()));
        slots.into_iter().filter_map(|slot| Some(self.forget_listener(slot, turn)?.socket)).collect()
    }

    /// Duplicates of a listener's sockets; of those that are stopping none.
    pub(in crate::worker) fn duplicate_listener(&self, id: ListenerId) -> io::Result<Vec<Duplicate>> {
        let listeners = self.sockets_of(id).into_iter().filter_map(|slot| self.listeners.get(slot));
        listeners.filter(|listener| listener.stopping.is_none()).map(|listener| listener.socket.duplicate()).collect()
    }

    /// Further descriptors of a listener's first socket, as many as can be had.
    pub(in crate::worker) fn share_listener(&self, id: ListenerId, count: usize) -> Vec<ListenSocket> {
        let mut listeners = self.sockets_of(id).into_iter().filter_map(|slot| self.listeners.get(slot));
        let Some(listener) = listeners.find(|listener| listener.stopping.is_none()) else { return Vec::new() };
        let shared = (0..count).map_while(|_| {
            let shared = listener.socket.share();
            if let Err(error) = &shared {
                tracing::error!(worker = self.index, %error, "a listening socket cannot be shared with further workers");
            }
            shared.ok()
        });
        shared.collect()
    }

    /// Accepts nothing of a listener, or of all, until
    /// [`resume_listener`](Self::resume_listener). Those that are stopping go on.
    pub(in crate::worker) fn hold_listener(&mut self, id: Option<ListenerId>) {
        for slot in self.some_sockets(id) {
            if let Some(listener) = self.listeners.get_mut(slot) {
                listener.held = listener.stopping.is_none();
            }
        }
    }

    pub(in crate::worker) fn resume_listener(&mut self, id: Option<ListenerId>, turn: &mut Turn<'_>) {
        for slot in self.some_sockets(id) {
            if let Some(listener) = self.listeners.get_mut(slot) {
                listener.held = false;
                // What came meanwhile was announced, and is not again.
                self.accept(slot, turn);
            }
        }
    }

    fn some_sockets(&self, id: Option<ListenerId>) -> Vec<SlotId> {
        match id {
            Some(id) => self.sockets_of(id),
            None => self.listeners.iter().map(|(slot, _)| slot).collect(),
        }
    }

    fn sockets_of(&self, id: ListenerId) -> Vec<SlotId> {
        self.listener_slots.get(&id).cloned().unwrap_or_default()
    }
}
