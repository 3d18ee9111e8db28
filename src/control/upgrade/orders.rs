//! How the story of an upgrade reaches the Controller: by a queue of its own,
//! so that no operator stands in its way.

use tokio::sync::{mpsc, oneshot};

use super::{
    super::request::{Refusal, Reply},
    types::{Estate, Expected, Heir, Ledger, ListenerSockets, Moving, Receipt, Will},
};

/// The story asks one thing after the other.
const QUEUE: usize = 4;

/// What the story of an upgrade may ask.
#[derive(Debug)]
pub(in crate::control) enum Order {
    /// See [`Estate::will`].
    Will(Reply<Will>),
    /// See [`Estate::sockets`].
    Sockets(Reply<Vec<ListenerSockets>>),
    /// See [`Estate::stop_accepting`].
    StopAccepting(Reply<Expected>),
    /// See [`Estate::export`].
    Export(usize, Reply<Vec<Moving>>),
    /// See [`Estate::take_back`].
    TakeBack(Vec<Moving>, Reply<Vec<Moving>>),
    /// See [`Estate::ledger`].
    Ledger(Reply<Ledger>),
    /// See [`Estate::open`].
    Open(Reply<u64>),
    /// See [`Estate::resume`].
    Resume(Box<Receipt>, Reply<()>),
    /// See [`Estate::retire`].
    Retire(Box<Receipt>, Reply<()>),
    /// See [`Heir::import`].
    Import(Vec<Moving>, Reply<Vec<Moving>>),
    /// See [`Heir::absorb`].
    Absorb(Box<Ledger>, Reply<()>),
    /// See [`Heir::succeed`].
    Succeed(Box<Receipt>, Reply<()>),
}

/// The Controller of a process that hands over.
#[derive(Debug, Clone)]
pub struct EstateHandle(Orders);

/// The Controller of a process that takes over.
#[derive(Debug, Clone)]
pub struct HeirHandle(Orders);

/// The way to the Controller.
#[derive(Debug, Clone)]
pub(in crate::control) struct Orders(mpsc::Sender<Order>);

impl Orders {
    pub(in crate::control) fn new() -> (Self, mpsc::Receiver<Order>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    pub(in crate::control) fn estate(&self) -> EstateHandle {
        EstateHandle(self.clone())
    }

    pub(in crate::control) fn heir(&self) -> HeirHandle {
        HeirHandle(self.clone())
    }

    async fn ask<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.0.send(order(reply)).await.map_err(|_| Refusal::ShuttingDown)?;
        answer.await.unwrap_or(Err(Refusal::ShuttingDown))
    }
}

impl Estate for EstateHandle {
    async fn will(&self) -> Result<Will, Refusal> {
        self.0.ask(Order::Will).await
    }

    async fn sockets(&self) -> Result<Vec<ListenerSockets>, Refusal> {
        self.0.ask(Order::Sockets).await
    }

    async fn stop_accepting(&self) -> Result<Expected, Refusal> {
        self.0.ask(Order::StopAccepting).await
    }

    async fn export(&self, limit: usize) -> Result<Vec<Moving>, Refusal> {
        self.0.ask(|reply| Order::Export(limit, reply)).await
    }

    async fn take_back(&self, connections: Vec<Moving>) {
        // A Controller that is gone has closed all connections, these too.
        let left = self.0.ask(|reply| Order::TakeBack(connections, reply)).await.unwrap_or_default();
        if !left.is_empty() {
            tracing::error!("{} connections could not be taken back and are lost", left.len());
        }
    }

    async fn ledger(&self) -> Result<Ledger, Refusal> {
        self.0.ask(Order::Ledger).await
    }

    async fn open(&self) -> u64 {
        self.0.ask(Order::Open).await.unwrap_or(0)
    }

    async fn resume(&self, receipt: Receipt) {
        let _ = self.0.ask(|reply| Order::Resume(Box::new(receipt), reply)).await;
    }

    async fn retire(&self, receipt: Receipt) {
        let _ = self.0.ask(|reply| Order::Retire(Box::new(receipt), reply)).await;
    }
}

impl Heir for HeirHandle {
    async fn import(&self, connections: Vec<Moving>) -> Vec<Moving> {
        self.0.ask(|reply| Order::Import(connections, reply)).await.unwrap_or_default()
    }

    async fn absorb(&self, ledger: Ledger) {
        let _ = self.0.ask(|reply| Order::Absorb(Box::new(ledger), reply)).await;
    }

    async fn succeed(&self, receipt: Receipt) {
        let _ = self.0.ask(|reply| Order::Succeed(Box::new(receipt), reply)).await;
    }
}
