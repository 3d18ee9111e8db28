//! Answers of several workers, gathered until a deadline.

use std::time::Duration;

use tokio::{sync::mpsc, time::timeout};

use crate::worker::Reply;

/// Collects what workers answer. As many answers come as orders were sent, so
/// the channel needs no other bound.
#[derive(Debug)]
pub(super) struct Gather<T> {
    /// Dropped before waiting: when the last order is gone unanswered (the
    /// worker died), the wait ends.
    sender: Option<mpsc::UnboundedSender<(usize, T)>>,
    receiver: mpsc::UnboundedReceiver<(usize, T)>,
    /// Answers that each worker still owes.
    owed: Vec<usize>,
    /// Answers by worker, in the order they came.
    pub(super) answers: Vec<(usize, T)>,
}

impl<T: Send + 'static> Gather<T> {
    pub(super) fn new(workers: usize) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender: Some(sender), receiver, owed: vec![0; workers], answers: Vec::new() }
    }

    /// Where worker `index` sends one more answer.
    pub(super) fn reply(&mut self, index: usize) -> Reply<T> {
        self.owed[index] += 1;
        let sender = self.sender.clone();
        Reply::new(move |answer| {
            if let Some(sender) = sender {
                // Nobody waits any more: fine.
                let _ = sender.send((index, answer));
            }
        })
    }

    /// Waits until everybody has answered, nobody can any more, or `limit` is
    /// over (`None`: no limit). Whether all did.
    pub(super) async fn wait(&mut self, limit: Option<Duration>) -> bool {
        self.sender = None;
        match limit {
            Some(limit) => {
                // The outcome shows in what is owed.
                let _ = timeout(limit, self.receive()).await;
            }
            None => self.receive().await,
        }
        self.silent().is_empty()
    }

    /// Workers that owe an answer.
    pub(super) fn silent(&self) -> Vec<usize> {
        (0..self.owed.len()).filter(|&index| self.owed[index] > 0).collect()
    }

    async fn receive(&mut self) {
        while self.owed.iter().any(|&owed| owed > 0) {
            let Some((index, answer)) = self.receiver.recv().await else { return };
            self.owed[index] -= 1;
            self.answers.push((index, answer));
        }
    }
}

/// "worker 1" or "workers 0, 2".
pub(super) fn workers_named(indexes: &[usize]) -> String {
    let list = indexes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    if indexes.len() == 1 { format!("worker {list}") } else { format!("workers {list}") }
}
