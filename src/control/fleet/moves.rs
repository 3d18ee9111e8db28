//! Listening sockets that change their worker, with what waits in their queues:
//! nobody who connects meanwhile notices, and nothing is bound anew.

use super::Fleet;
use crate::{
    control::{crew::Crew, gather::Gather, port::WorkerPort, told::Guest},
    listen::ListenSocket,
    worker::{Command, ListenerId, Reply},
};

/// A socket that goes from one worker to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::control) struct Move {
    /// The listener's name.
    listener: String,
    /// The listener's own id: another one means another socket.
    own: ListenerId,
    /// The worker that it was made for.
    home: usize,
    from: usize,
    /// What it is known by there.
    id: ListenerId,
    to: usize,
}

impl<P: WorkerPort> Fleet<P> {
    /// Takes every socket that is not where it belongs from its worker; the
    /// answers say of which move the socket is.
    pub(in crate::control) fn release(&mut self, crew: &Crew) -> (Vec<Move>, Gather<(usize, Option<ListenSocket>)>) {
        let moves = self.moves(crew);
        let mut gather = Gather::new(self.workers.len());
        for (index, each) in moves.iter().enumerate() {
            let reply = gather.reply(each.from);
            let reply = Reply::new(move |socket| reply.send((index, socket)));
            self.send(each.from, Command::ReleaseListener(each.id, reply));
        }
        (moves, gather)
    }

    /// Gives sockets to the workers that are to have them.
    pub(in crate::control) fn settle_in(
        &mut self,
        moves: &[Move],
        released: Vec<(usize, (usize, Option<ListenSocket>))>,
    ) -> Gather<()> {
        for (_, (index, socket)) in released {
            let (Some(Move { listener, own, home, id, to, .. }), Some(socket)) = (moves.get(index), socket) else {
                continue;
            };
            let told = self.told.listeners.get_mut(listener).filter(|told| told.id == Some(*own));
            let Some(told) = told else {
                tracing::warn!(%listener, "a socket came back from its worker too late: the listener has others now");
                continue;
            };
            if told.guests.iter().any(|guest| guest.id == *id) {
                told.guests.retain(|guest| guest.id != *id);
                told.remember(*id);
            }
            self.place(listener, *home, *to, socket);
        }
        let mut confirm = Gather::new(self.workers.len());
        self.send_all(&mut confirm, Command::Ping);
        confirm
    }

    /// Gives one socket to a worker, under the listener's own id at home.
    pub(super) fn place(&mut self, listener: &str, home: usize, host: usize, socket: ListenSocket) {
        let guest = Guest { home, host, id: ListenerId(self.told.fresh()) };
        let Some(told) = self.told.listeners.get_mut(listener) else { return };
        let id = if host == home {
            told.id
        } else {
            told.guests.push(guest);
            Some(guest.id)
        };
        let spec = id.and_then(|id| self.listener_spec(listener, id, host));
        if let Some(spec) = spec {
            self.send(host, Command::AddListener(spec, socket));
        }
    }

    /// Other settings for what guests accept from now on.
    pub(super) fn update_guests(&mut self, listener: &str) {
        let guests = self.told.listeners.get(listener).map(|told| told.guests.clone()).unwrap_or_default();
        for Guest { host, id, .. } in guests {
            if let Some(spec) = self.listener_spec(listener, id, host) {
                self.send(host, Command::UpdateListener(spec));
            }
        }
    }

    /// Who is to have a new socket that was made for worker `home`.
    pub(super) fn host(&self, crew: &Crew, home: usize) -> usize {
        if crew.accepts(home) {
            return home;
        }
        let guests = self.guests();
        crew.host(home, home, &self.able(), |worker| guests[worker])
    }

    /// Workers that have not died.
    fn able(&self) -> Vec<usize> {
        (0..self.workers.len()).filter(|&worker| !self.hearts[worker].dead).collect()
    }

    /// How many sockets of others each worker has.
    fn guests(&self) -> Vec<usize> {
        let mut guests = vec![0; self.workers.len()];
        for guest in self.told.listeners.values().flat_map(|told| &told.guests) {
            guests[guest.host] += 1;
        }
        guests
    }

    fn moves(&self, crew: &Crew) -> Vec<Move> {
        let (able, mut guests) = (self.able(), self.guests());
        let mut moves = Vec::new();
        for (name, told) in &self.told.listeners {
            let Some(own) = told.id else { continue };
            for home in 0..self.workers.len() {
                let guest = told.guests.iter().find(|guest| guest.home == home);
                let (from, id) = guest.map_or((home, own), |guest| (guest.host, guest.id));
                let to = crew.host(home, from, &able, |worker| guests[worker]);
                // The sockets of a dead worker are closed.
                if to != from && able.contains(&from) {
                    guests[to] += usize::from(to != home);
                    moves.push(Move { listener: name.clone(), own, home, from, id, to });
                }
            }
        }
        moves
    }
}
