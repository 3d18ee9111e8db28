//! Clients of every kind at once.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use socket2::SockRef;

use crate::{
    support::{
        clock::{now, pause, within},
        pattern::Pattern,
    },
    tally::{Book, Kind, Trouble},
    upstream::{Heard, PIECE, PIECES, SIP, SLOWLY, SLOWNESS, Upstream, Wish, trickle},
};

/// After so long without a byte a connection counts as cut.
const GIVEN_UP: Duration = Duration::from_secs(20);
/// What a bulk connection sends before another follows it.
const BULK: usize = 24 << 20;
const CHUNK: usize = 32 << 10;
/// Connections that are held idle, through each listener.
pub(crate) const IDLE: usize = 40;

type Outcome = Result<(), Trouble>;

/// All that run. They end with their connections when stopped.
pub(crate) struct Load {
    pub(crate) book: Arc<Book>,
    threads: Vec<JoinHandle<()>>,
}

/// What a client needs to know.
#[derive(Clone)]
struct Client {
    book: Arc<Book>,
    heard: Arc<Heard>,
    seeds: Arc<AtomicU64>,
    address: SocketAddr,
    kind: Kind,
}

impl Load {
    /// Of every kind through each of `addresses`, which lead to `upstream`.
    pub(crate) fn start(addresses: &[SocketAddr], upstream: &Upstream) -> Self {
        let (book, seeds) = (Arc::new(Book::new()), Arc::new(AtomicU64::new(1)));
        let mut load = Self { book: Arc::clone(&book), threads: Vec::new() };
        let mut add = |address: SocketAddr, kind: Kind, number: usize, run: fn(&Client) -> Outcome| {
            for _ in 0..number {
                let (book, heard, seeds) = (Arc::clone(&book), upstream.heard(), Arc::clone(&seeds));
                let client = Client { book, heard, seeds, address, kind };
                load.threads.push(thread::spawn(move || client.again_and_again(run)));
            }
        };
        add(upstream.address(), Kind::Direct, 1, Client::requests);
        for &address in addresses {
            add(address, Kind::Short, 2, Client::short);
            add(address, Kind::Requests, 8, Client::requests);
            add(address, Kind::Bulk, 1, Client::bulk);
            add(address, Kind::Idle, 1, Client::idle);
            add(address, Kind::HalfClosed, 3, Client::half_closed_by_itself);
            add(address, Kind::HalfClosed, 3, Client::half_closed_by_the_server);
            add(address, Kind::SlowReader, 2, Client::reads_slowly);
            add(address, Kind::SlowReader, 2, Client::is_read_slowly);
        }
        load
    }

    /// Stops it and waits for its last connections.
    pub(crate) fn end(&mut self) {
        self.book.stop();
        for thread in self.threads.drain(..) {
            thread.join().expect("a load that counts and does not panic");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.book.stop();
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Client {
    fn again_and_again(&self, run: impl Fn(&Self) -> Outcome) {
        while self.book.goes_on() {
            if let Err(trouble) = run(self) {
                self.book.trouble(self.kind, trouble);
                pause(Duration::from_millis(100));
            }
            pause(Duration::from_millis(2));
        }
    }

    fn open(&self, wish: Wish) -> Result<Line<'_>, Trouble> {
        let began = now();
        let stream = TcpStream::connect_timeout(&self.address, GIVEN_UP)
            .map_err(|error| Trouble::Failed(format!("connect: {error}")))?;
        self.book.opened(self.kind);
        self.book.waited(self.kind, now() - began, "a connect");
        let prepared = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(GIVEN_UP)))
            .and_then(|()| stream.set_write_timeout(Some(GIVEN_UP)));
        prepared.map_err(|error| Trouble::Failed(format!("a socket's options: {error}")))?;
        let seed = self.seeds.fetch_add(1, Ordering::AcqRel);
        let mut line = Line { client: self, stream, seed, received: 0 };
        line.send(&wish.greeting(seed))?;
        Ok(line)
    }

    fn short(&self) -> Outcome {
        let mut line = self.open(Wish::Echo)?;
        for _ in 0..3 {
            line.exchange(200)?;
        }
        line.finish()?;
        line.ends()
    }

    fn requests(&self) -> Outcome {
        let mut line = self.open(Wish::Echo)?;
        let mut length = 0;
        while self.book.goes_on() {
            length = (length + 331) % 6000;
            line.exchange(length + 1)?;
            pause(Duration::from_millis(10));
        }
        line.finish()?;
        line.ends()
    }

    /// Writes and reads at once, every byte compared.
    fn bulk(&self) -> Outcome {
        let mut line = self.open(Wish::Echo)?;
        let mut writing = line.stream.try_clone().map_err(|error| Trouble::Failed(error.to_string()))?;
        let pattern = Pattern::new(line.seed);
        thread::scope(|scope| {
            let writer = scope.spawn(move || {
                let (mut sent, mut chunk) = (0, vec![0; CHUNK]);
                while sent < BULK && self.book.goes_on() {
                    pattern.fill(sent as u64, &mut chunk);
                    writing.write_all(&chunk).map_err(|error| cut("sending", sent, &error))?;
                    sent += chunk.len();
                    pause(Duration::from_millis(2));
                }
                writing.shutdown(Shutdown::Write).map_err(|error| cut("the end", sent, &error))?;
                Ok(sent)
            });
            let received = line.compares_until_the_end(CHUNK, Duration::ZERO);
            let sent = writer.join().expect("no panic")?;
            same(received?, sent)
        })
    }

    /// Many that do nothing between a first and a last exchange.
    fn idle(&self) -> Outcome {
        let mut lines = Vec::with_capacity(IDLE);
        for _ in 0..IDLE {
            let mut line = self.open(Wish::Echo)?;
            line.exchange(100)?;
            lines.push(line);
        }
        while self.book.goes_on() {
            pause(Duration::from_millis(20));
            // One that was cut is told, and does not come again.
            lines.retain(|line| line.is_open().map_err(|trouble| self.book.trouble(self.kind, trouble)).is_ok());
        }
        for mut line in lines {
            let ended = line.exchange(100).and_then(|()| line.finish()).and_then(|()| line.ends());
            ended.unwrap_or_else(|trouble| self.book.trouble(self.kind, trouble));
        }
        Ok(())
    }

    fn half_closed_by_itself(&self) -> Outcome {
        let mut line = self.open(Wish::TrickleAfterEnd)?;
        line.finish()?;
        same(line.compares_until_the_end(PIECE, Duration::ZERO)?, PIECE * PIECES)
    }

    fn half_closed_by_the_server(&self) -> Outcome {
        let mut line = self.open(Wish::EndFirst)?;
        line.ends()?;
        trickle(&mut line.stream, line.seed).map_err(|error| cut("a trickle", 0, &error))?;
        line.was_heard(PIECE * PIECES)
    }

    fn reads_slowly(&self) -> Outcome {
        let mut line = self.open(Wish::Gush)?;
        SockRef::from(&line.stream).set_recv_buffer_size(SIP).map_err(|error| cut("SO_RCVBUF", 0, &error))?;
        same(line.compares_until_the_end(SIP, SLOWNESS)?, SLOWLY)
    }

    fn is_read_slowly(&self) -> Outcome {
        let mut line = self.open(Wish::ReadSlowly)?;
        let bytes = Pattern::new(line.seed).bytes(SLOWLY);
        for chunk in bytes.chunks(SIP) {
            let began = now();
            line.send(chunk)?;
            self.book.waited(self.kind, now() - began, "room to send");
        }
        line.finish()?;
        line.was_heard(SLOWLY)
    }
}

/// One connection.
struct Line<'a> {
    client: &'a Client,
    stream: TcpStream,
    seed: u64,
    received: usize,
}

impl Line<'_> {
    fn send(&mut self, bytes: &[u8]) -> Outcome {
        self.stream.write_all(bytes).map_err(|error| cut("sending", self.received, &error))
    }

    fn finish(&mut self) -> Outcome {
        self.stream.shutdown(Shutdown::Write).map_err(|error| cut("the end", self.received, &error))
    }

    /// The next bytes of the pattern, there and back.
    fn exchange(&mut self, length: usize) -> Outcome {
        let (mut bytes, mut back) = (vec![0; length], vec![0; length]);
        Pattern::new(self.seed).fill(self.received as u64, &mut bytes);
        let began = now();
        self.send(&bytes)?;
        self.stream.read_exact(&mut back).map_err(|error| cut("an answer", self.received, &error))?;
        self.client.book.waited(self.client.kind, now() - began, "an answer");
        self.compared(&back, &bytes)
    }

    fn compared(&mut self, bytes: &[u8], expected: &[u8]) -> Outcome {
        if bytes != expected {
            return Err(Trouble::Corrupted(format!("corrupted after byte {}", self.received)));
        }
        self.received += bytes.len();
        self.client.book.received(self.client.kind, bytes.len());
        Ok(())
    }

    /// Reads and compares until the server's end; how much it was.
    fn compares_until_the_end(&mut self, at_once: usize, slowness: Duration) -> Result<usize, Trouble> {
        let (mut buffer, mut expected) = (vec![0; at_once], vec![0; at_once]);
        let pattern = Pattern::new(self.seed);
        loop {
            let began = now();
            let length = self.stream.read(&mut buffer).map_err(|error| cut("reading", self.received, &error))?;
            self.client.book.waited(self.client.kind, now() - began, "the next piece");
            if length == 0 {
                return Ok(self.received);
            }
            pattern.fill(self.received as u64, &mut expected[..length]);
            self.compared(&buffer[..length], &expected[..length])?;
            pause(slowness);
        }
    }

    /// Nothing but the end comes.
    fn ends(&mut self) -> Outcome {
        let began = now();
        let length = self.stream.read(&mut [0]).map_err(|error| cut("the server's end", self.received, &error))?;
        self.client.book.waited(self.client.kind, now() - began, "the server's end");
        if length == 0 { Ok(()) } else { Err(Trouble::Corrupted("a byte more than was sent".to_owned())) }
    }

    /// The server has read and compared so much, and the end.
    fn was_heard(&self, length: usize) -> Outcome {
        match within(GIVEN_UP, || self.client.heard.lock().expect("no poison").remove(&self.seed)) {
            Some(Ok((heard, longest))) => {
                self.client.book.waited(self.client.kind, longest, "the server's next piece");
                self.client.book.received(self.client.kind, heard);
                same(heard, length)
            }
            Some(Err(why)) if why.contains("corrupted") => Err(Trouble::Corrupted(why)),
            Some(Err(why)) => Err(Trouble::Cut(why)),
            None => Err(Trouble::Cut("the server never heard the end".to_owned())),
        }
    }

    /// Nothing has come and nothing has ended.
    fn is_open(&self) -> Outcome {
        let look = |stream: &TcpStream| {
            stream.set_nonblocking(true)?;
            let peeked = stream.peek(&mut [0]);
            stream.set_nonblocking(false)?;
            peeked
        };
        match look(&self.stream) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Ok(0) => Err(Trouble::Cut("an end of an idle one".to_owned())),
            Ok(_) => Err(Trouble::Corrupted("a byte that nobody sent".to_owned())),
            Err(error) => Err(cut("idle", self.received, &error)),
        }
    }
}

fn cut(what: &str, after: usize, error: &std::io::Error) -> Trouble {
    Trouble::Cut(format!("{what}, after {after} bytes: {error}"))
}

fn same(received: usize, sent: usize) -> Outcome {
    if received == sent { Ok(()) } else { Err(Trouble::Cut(format!("{received} bytes of {sent} came"))) }
}
