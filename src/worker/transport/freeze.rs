//! One side of a connection leaves its worker, or arrives at another.

use super::{Stream, Transport};
use crate::worker::parcel::ParcelSide;

impl<S: Stream> Transport<S> {
    /// The socket and its ledger. What the kernel has said is forgotten: it
    /// tells the next watcher anew.
    pub(in crate::worker) fn freeze<F: From<S>>(self) -> ParcelSide<F> {
        ParcelSide {
            socket: self.stream.into(),
            received: self.received,
            sent: self.sent,
            gathers: self.gathers,
            urgent: self.urgent,
            failed: self.failed,
        }
    }

    /// As it was, but nothing is read or written before the kernel says that
    /// it can be: it does so to every new watcher, of all that is so then.
    pub(in crate::worker) fn thaw<F: Into<S>>(side: ParcelSide<F>) -> Self {
        let (socket, ledger) = side.split();
        let mut transport = Self::new(socket.into());
        transport.resume(&ledger);
        transport
    }

    /// Makes a new side one that has moved bytes before, elsewhere.
    pub(in crate::worker) fn resume(&mut self, ledger: &ParcelSide<()>) {
        let &ParcelSide { socket: (), received, sent, gathers, urgent, failed } = ledger;
        (self.readable, self.writable) = (false, false);
        (self.received, self.sent) = (received, sent);
        (self.gathers, self.urgent, self.failed) = (gathers, urgent, failed);
        self.read_to_the_end |= urgent || failed;
    }
}
