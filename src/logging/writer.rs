//! The queue and the thread behind it.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tracing::Level;

use super::{layer::now, record::Record, sink::Output};

/// Most lines that wait for the writer: with [`MAX_TEXT`](super::record::MAX_TEXT) bytes in each, 16 MiB.
pub(super) const MAX_WAITING: usize = 1024;

/// The way to the writer thread.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    sender: Sender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Lines that nobody will read.
    lost: AtomicU64,
    /// Where to write from the next line on.
    next: Mutex<Option<Output>>,
}

#[derive(Debug)]
enum Message {
    Record(Box<Record>),
    /// Something in [`Shared`] has changed.
    Wake,
    /// All before this is written.
    Flush(Sender<()>),
}

impl Queue {
    /// Starts the thread.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(super) fn start(output: Output) -> io::Result<Self> {
        let (sender, receiver) = bounded(MAX_WAITING);
        let shared = Arc::new(Shared::default());
        let writer = Writer { output, shared: Arc::clone(&shared), announced: 0 };
        thread::Builder::new().name("netd-log".to_owned()).spawn(move || writer.run(&receiver))?;
        Ok(Self { sender, shared })
    }

    /// Hands a line to the writer, or loses it if too many wait.
    pub(super) fn push(&self, record: Record) {
        if self.sender.try_send(Message::Record(Box::new(record))).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// From the next line on the writer writes there. What it had before is
    /// closed, once it is not blocked in it.
    pub(super) fn switch(&self, output: Output) {
        *self.shared.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(output);
        // With a full queue the writer looks soon anyway.
        match self.sender.try_send(Message::Wake) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    /// Waits until all lines so far are written, for at most `patience` twice.
    /// Returns whether they are.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let (done, is_done) = bounded(1);
        self.sender.send_timeout(Message::Flush(done), patience).is_ok() && is_done.recv_timeout(patience).is_ok()
    }

    /// Lines lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

struct Writer {
    output: Output,
    shared: Arc<Shared>,
    /// How many lost lines have been told of.
    announced: u64,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        for message in receiver {
            if let Some(output) = self.shared.next.lock().unwrap_or_else(PoisonError::into_inner).take() {
                self.output = output;
            }
            match message {
                Message::Record(record) => self.write(&record),
                Message::Wake => {}
                Message::Flush(done) => {
                    let _ = done.try_send(());
                }
            }
        }
    }

    fn write(&mut self, record: &Record) {
        self.announce();
        if self.output.write(record).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells of lost lines before the first one that comes through again.
    fn announce(&mut self) {
        let lost = self.shared.lost.load(Ordering::Relaxed);
        if lost == self.announced {
            return;
        }
        let record = Record {
            time: now(),
            level: Level::WARN,
            target: module_path!(),
            source: None,
            message: format!("{} log lines were lost: their destination did not take them", lost - self.announced),
            fields: Vec::new(),
        };
        if self.output.write(&record).is_ok() {
            self.announced = lost;
        }
    }
}
