//! Accepting on the edges: bounded, and possible without a free file
//! descriptor.

use std::{
    future::poll_fn,
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use nix::errno::Errno;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use super::reserve::Reserve;

/// Pause after an accept that could not be helped, and between attempts to
/// refill the reserve.
const PAUSE: Duration = Duration::from_millis(250);

/// Lets in so many connections at once, the next ones wait in the accept queue.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    reserve: Arc<Reserve>,
    permits: Arc<Semaphore>,
    edge: &'static str,
}

impl Gate {
    /// A gate for `limit` connections; `edge` names it in the log.
    pub(super) fn new(edge: &'static str, limit: usize, reserve: Reserve) -> Self {
        Self { reserve: Arc::new(reserve), permits: Arc::new(Semaphore::new(limit)), edge }
    }

    /// The file descriptors it keeps back.
    pub(super) fn reserve(&self) -> &Arc<Reserve> {
        &self.reserve
    }

    /// The next connection. When the process is out of file descriptors, a
    /// spare one is given up for it; when there is none, the connection waits in
    /// the accept queue and is tried again every 250 ms.
    pub(super) async fn accept<F>(&self, mut accept: impl FnMut() -> F) -> Guarded
    where
        F: Future<Output = io::Result<Socket>>,
    {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return std::future::pending().await;
        };
        let mut warned = false;
        loop {
            let error = match self.refilling(accept()).await {
                Ok(socket) => {
                    return Guarded { socket: Some(socket), reserve: Arc::clone(&self.reserve), _permit: permit };
                }
                Err(error) => error,
            };
            match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ECONNABORTED | Errno::EINTR | Errno::EPROTO) => continue,
                Some(Errno::EMFILE | Errno::ENFILE) if self.reserve.release() => continue,
                _ => {}
            }
            if !warned {
                tracing::warn!(edge = self.edge, %error, "cannot accept; trying again every {PAUSE:?}");
                warned = true;
            }
            sleep(PAUSE).await;
            self.reserve.refill();
        }
    }

    /// Waits for a connection, and meanwhile for spares to come back.
    ///
    /// accept(2) takes a file descriptor before it looks whether anybody waits,
    /// so EMFILE may have cost a spare for nothing: when the attempt after it
    /// finds nobody, the spare is taken back at once.
    async fn refilling<F>(&self, accept: F) -> F::Output
    where
        F: Future<Output = io::Result<Socket>>,
    {
        let mut accept = std::pin::pin!(accept);
        if self.reserve.missing() > 0 {
            if let Poll::Ready(accepted) = poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx))).await {
                return accepted;
            }
            self.reserve.refill();
        }
        while self.reserve.missing() > 0 {
            if let Ok(accepted) = timeout(PAUSE, &mut accept).await {
                return accepted;
            }
            self.reserve.refill();
        }
        accept.await
    }
}

/// A stream socket of either family.
#[derive(Debug)]
pub(super) enum Socket {
    /// Unix-domain.
    Unix(UnixStream),
    /// TCP.
    Tcp(TcpStream),
}

impl Socket {
    fn into_fd(self) -> io::Result<OwnedFd> {
        match self {
            Self::Unix(stream) => stream.into_std().map(OwnedFd::from),
            Self::Tcp(stream) => stream.into_std().map(OwnedFd::from),
        }
    }
}

/// A connection that counts against its [`Gate`]'s limit while it lives, and
/// whose file descriptor refills the reserve when it ends.
#[derive(Debug)]
pub(super) struct Guarded {
    /// Taken only by drop.
    socket: Option<Socket>,
    reserve: Arc<Reserve>,
    _permit: OwnedSemaphorePermit,
}

impl Guarded {
    /// The connection itself.
    pub(super) fn socket(&self) -> Option<&Socket> {
        self.socket.as_ref()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(fd) = self.socket.take().and_then(|socket| socket.into_fd().ok()) {
            self.reserve.absorb(fd);
        }
    }
}

/// Calls a method of the stream that is there.
macro_rules! on_stream {
    ($guarded:expr, $stream:ident => $call:expr) => {
        match &mut $guarded.get_mut().socket {
            Some(Socket::Unix($stream)) => {
                let $stream = Pin::new($stream);
                $call
            }
            Some(Socket::Tcp($stream)) => {
                let $stream = Pin::new($stream);
                $call
            }
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    };
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        future::{pending, ready},
        pin::pin,
    };

    use tokio::io::AsyncReadExt;

    use super::*;

    fn failure(errno: Errno) -> io::Result<Socket> {
        Err(io::Error::from_raw_os_error(errno as i32))
    }

    /// Polls once.
    async fn is_pending<T>(future: &mut Pin<&mut impl Future<Output = T>>) -> bool {
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    #[test]
    fn out_of_descriptors_costs_spares_that_the_connection_gives_back() {
        runtime().block_on(async {
            let gate = Gate::new("test", 4, Reserve::new(3).expect("descriptors"));
            let (ours, mut theirs) = UnixStream::pair().expect("a pair");
            let mut answers = vec![
                Ok(Socket::Unix(ours)),
                failure(Errno::ENFILE),
                failure(Errno::EMFILE),
                failure(Errno::ECONNABORTED),
            ];
            let guarded = gate.accept(|| ready(answers.pop().expect("no more accepts than answers"))).await;
            assert_eq!(gate.reserve.missing(), 2);
            drop(guarded);
            assert_eq!(gate.reserve.missing(), 1);
            assert_eq!(theirs.read(&mut [0]).await.expect("end of stream"), 0);
        });
    }

    #[test]
    fn with_no_spare_left_it_pauses_and_does_not_spin() {
        runtime().block_on(async {
            let gate = Gate::new("test", 4, Reserve::new(1).expect("a descriptor"));
            let calls = Cell::new(0);
            let mut accepting = pin!(gate.accept(|| {
                calls.set(calls.get() + 1);
                ready(failure(Errno::EMFILE))
            }));
            assert!(is_pending(&mut accepting).await);
            assert_eq!((calls.get(), gate.reserve.missing()), (2, 1), "once for the spare, once without");
        });
    }

    #[test]
    fn a_spare_given_up_for_nobody_is_taken_back_at_once() {
        runtime().block_on(async {
            let gate = Gate::new("test", 4, Reserve::new(2).expect("descriptors"));
            let calls = Cell::new(0);
            let mut accepting = pin!(gate.accept(|| {
                calls.set(calls.get() + 1);
                let nobody_waits = calls.get() > 1;
                async move { if nobody_waits { pending().await } else { failure(Errno::EMFILE) } }
            }));
            assert!(is_pending(&mut accepting).await);
            assert_eq!((calls.get(), gate.reserve.missing()), (2, 0));
        });
    }

    #[test]
    fn the_limit_holds_the_next_one_back_until_one_ends() {
        runtime().block_on(async {
            let gate = Gate::new("test", 1, Reserve::new(1).expect("a descriptor"));
            let next = || async { Ok(Socket::Unix(UnixStream::pair()?.0)) };
            let first = gate.accept(next).await;
            let mut second = pin!(gate.accept(next));
            assert!(is_pending(&mut second).await);
            drop(first);
            second.await;
        });
    }
}
