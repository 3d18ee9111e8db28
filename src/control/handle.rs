//! How the edges reach the Controller.

use tokio::sync::{broadcast, mpsc, oneshot};

use super::request::{Event, Refusal, Reply, Request};

/// Requests waiting for the Controller; more are refused.
const QUEUE: usize = 256;

/// Events kept for a slow reader; older ones are counted as missed.
const EVENTS: usize = 1024;

/// Sends requests to the Controller. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    events: broadcast::Sender<Event>,
}

impl Handle {
    /// A handle, and the ends that the Controller keeps.
    pub fn new() -> (Self, mpsc::Receiver<Request>, broadcast::Sender<Event>) {
        let (requests, receiver) = mpsc::channel(QUEUE);
        let (events, _) = broadcast::channel(EVENTS);
        (Self { requests, events: events.clone() }, receiver, events)
    }

    /// Asks and waits for the answer:
    /// `handle.ask(|reply| Request::Status(reply)).await?`.
    ///
    /// # Errors
    /// What the Controller refuses with; [`Refusal::Busy`] when its queue is
    /// full; [`Refusal::ShuttingDown`] when it is gone.
    pub async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(request(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Refusal::Busy(format!("{QUEUE} requests are waiting already; try again"))
            }
            mpsc::error::TrySendError::Closed(_) => Refusal::ShuttingDown,
        })?;
        answer.await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}
