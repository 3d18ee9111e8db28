//! Clients that go on while the daemon changes beneath them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::{
    client::Client,
    clock::{eventually, pause},
};

/// Threads that connect, exchange a few echoes and close, over and over.
#[derive(Debug)]
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Traffic {
    /// Through a listener that leads to an echo.
    pub(crate) fn over(address: SocketAddr, clients: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let run = |number: usize| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                while !shared.stop.load(Ordering::Acquire) {
                    match exchange(address, number) {
                        Ok(()) => _ = shared.done.fetch_add(1, Ordering::AcqRel),
                        Err(error) => shared.failures.lock().expect("no poison").push(error),
                    }
                    pause(std::time::Duration::from_millis(2));
                }
            })
        };
        Self { threads: (0..clients).map(run).collect(), shared }
    }

    /// Exchanges done so far.
    pub(crate) fn done(&self) -> usize {
        self.shared.done.load(Ordering::Acquire)
    }

    /// Waits for this many further exchanges.
    #[track_caller]
    pub(crate) fn goes_on(&self, exchanges: usize) {
        let until = self.done() + exchanges;
        eventually("traffic goes on", || (self.done() >= until || self.failed()).then_some(()));
    }

    fn failed(&self) -> bool {
        !self.shared.failures.lock().expect("no poison").is_empty()
    }

    /// Ends it; nothing may have failed.
    #[track_caller]
    pub(crate) fn ends_without_a_failure(mut self) -> usize {
        self.end();
        let failures = self.shared.failures.lock().expect("no poison");
        assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), self.done(), failures.join("\n"));
        self.done()
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.end();
    }
}

fn exchange(address: SocketAddr, number: usize) -> Result<(), String> {
    let mut client = Client::try_connect(address).map_err(|error| format!("connect: {error}"))?;
    for round in 0..3 {
        let text = format!("client {number}, round {round}");
        client.try_echo(text.as_bytes()).map_err(|error| format!("{text}: {error}"))?;
    }
    Ok(())
}
