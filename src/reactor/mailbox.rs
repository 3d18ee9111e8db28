//! A bounded queue into a reactor, which wakes it.

use std::{fmt, sync::Arc};

use crossbeam_channel::TrySendError;
use mio::Waker;

/// The reactor's end.
#[derive(Debug)]
pub struct Mailbox<M> {
    receiver: crossbeam_channel::Receiver<M>,
    /// Kept so that a wake-up is not lost when the last sender goes.
    _waker: Arc<Waker>,
}

/// The other end. Cheap to clone.
pub struct Sender<M> {
    sender: crossbeam_channel::Sender<M>,
    waker: Arc<Waker>,
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// As many messages wait as may.
    Full,
    /// The reactor is gone.
    Gone,
}

pub(super) fn channel<M>(capacity: usize, waker: Waker) -> (Sender<M>, Mailbox<M>) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    let waker = Arc::new(waker);
    (Sender { sender, waker: Arc::clone(&waker) }, Mailbox { receiver, _waker: waker })
}

impl<M> Mailbox<M> {
    pub(super) fn take(&mut self) -> Option<M> {
        // Mostly there is none, and looking is cheaper than trying.
        if self.is_empty() { None } else { self.receiver.try_recv().ok() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }
}

impl<M> Sender<M> {
    /// Sends and wakes the reactor. Never blocks.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(&self, message: M) -> Result<(), SendError> {
        self.sender.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => SendError::Full,
            TrySendError::Disconnected(_) => SendError::Gone,
        })?;
        self.waker.wake().map_err(|_| SendError::Gone)
    }
}

impl<M> Clone for Sender<M> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), waker: Arc::clone(&self.waker) }
    }
}

impl<M> fmt::Debug for Sender<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("waiting", &self.sender.len()).finish()
    }
}
