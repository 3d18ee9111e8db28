//! Upstreams, named after what they do.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use socket2::{Domain, Socket, Type};

use super::{
    client::reset,
    clock::{PATIENCE, pause},
};

/// A server on a loopback port, one thread a connection. Its listening socket
/// goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    /// Bound and not listening.
    _held: Option<Socket>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    accepted: AtomicUsize,
}

impl Origin {
    /// Calls `serve` with each connection, on a thread of its own.
    pub(crate) fn serving(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared::default());
        let (serve, theirs) = (Arc::new(serve), Arc::clone(&shared));
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.stop.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                theirs.accepted.fetch_add(1, Ordering::AcqRel);
                stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                let serve = Arc::clone(&serve);
                thread::Builder::new().stack_size(256 * 1024).spawn(move || serve(stream)).expect("a thread");
            }
        });
        Self { address, shared, accepting: Some(accepting), _held: None }
    }

    /// Sends back what it gets, and ends when the client does.
    pub(crate) fn echoing() -> Self {
        Self::serving(|mut stream| {
            let mut buffer = [0; 16 * 1024];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => return,
                    Ok(length) => {
                        if stream.write_all(&buffer[..length]).is_err() {
                            return;
                        }
                    }
                }
            }
        })
    }

    /// Says its text and closes.
    pub(crate) fn saying(text: &'static str) -> Self {
        Self::serving(move |mut stream| {
            let _ = stream.write_all(text.as_bytes());
        })
    }

    /// Reads all there is until the client's end, then answers the number of
    /// bytes as text: what half-close is for.
    pub(crate) fn counting() -> Self {
        Self::serving(|mut stream| {
            let mut bytes = Vec::new();
            if stream.read_to_end(&mut bytes).is_ok() {
                let _ = stream.write_all(bytes.len().to_string().as_bytes());
            }
        })
    }

    /// Ends its own direction at once with a text, then reads to the client's
    /// end and tells `heard`.
    pub(crate) fn finishing_first(text: &'static str, heard: std::sync::mpsc::Sender<Vec<u8>>) -> Self {
        Self::serving(move |mut stream| {
            let _ = stream.write_all(text.as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
            let mut bytes = Vec::new();
            if stream.read_to_end(&mut bytes).is_ok() {
                let _ = heard.send(bytes);
            }
        })
    }

    /// Resets after the first byte it gets.
    pub(crate) fn resetting() -> Self {
        Self::serving(|mut stream| {
            let _ = stream.read(&mut [0]);
            reset(&stream);
        })
    }

    /// Resets as soon as it has accepted.
    pub(crate) fn resetting_at_once() -> Self {
        Self::serving(|stream| reset(&stream))
    }

    /// Accepts and never answers, until the client is gone.
    pub(crate) fn hanging() -> Self {
        Self::serving(|mut stream| {
            let mut buffer = [0; 1024];
            while !matches!(stream.read(&mut buffer), Ok(0) | Err(_)) {}
        })
    }

    /// Echoes, and tells how each connection ended: true for a reset.
    pub(crate) fn telling_ends(told: std::sync::mpsc::Sender<bool>) -> Self {
        Self::serving(move |mut stream| {
            let mut buffer = [0; 1024];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break told.send(false),
                    Ok(length) => drop(stream.write_all(&buffer[..length])),
                    Err(error) => break told.send(error.kind() == ErrorKind::ConnectionReset),
                }
            }
            .expect("a test that listens");
        })
    }

    /// Refuses: its port is taken, but nobody listens.
    pub(crate) fn refusing() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("a bound socket");
        Self { address, shared: Arc::default(), accepting: None, _held: Some(socket) }
    }

    /// Neither refuses nor accepts: its accept queue is full.
    pub(crate) fn not_accepting() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        socket.listen(0).expect("a listening socket");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("a bound socket");
        for _ in 0..4 {
            // They fill the queue; the kernel drops the SYN of any other.
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            filler.set_nonblocking(true).expect("a socket");
            let _ = filler.connect(&address.into());
            std::mem::forget(filler);
        }
        pause(std::time::Duration::from_millis(20));
        Self { address, shared: Arc::default(), accepting: None, _held: Some(socket) }
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Acquire)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(accepting) = self.accepting.take() {
            // Wakes it.
            let _ = TcpStream::connect(self.address);
            let _ = accepting.join();
        }
    }
}
