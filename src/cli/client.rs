//! The connection to the daemon, and its errors in words that help.

use std::{error::Error, future::Future, io, sync::Mutex, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint, Uri},
};

use crate::{config::Address, pb::admin_client::AdminClient};

use super::{exit::Failure, output::units};

/// Largest answer taken from the daemon. A pool of 1000 endpoints is some
/// 200 KiB, so this is room for hundreds of them.
const MAX_ANSWER: usize = 64 << 20;

/// A stream that shows no life for longer than both together is given up.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// One connection to one daemon.
pub(crate) struct Client {
    rpc: AdminClient<Channel>,
    address: Address,
    timeout: Duration,
}

impl Client {
    /// Connects as `user`; `timeout` bounds this and each later answer. A
    /// failure ends with the hint `elsewhere`.
    pub(crate) async fn connect(
        address: Address,
        timeout: Duration,
        user: &str,
        elsewhere: &str,
    ) -> Result<Self, Failure> {
        let channel = within(timeout, &address, open(&address)).await?;
        let channel = channel.map_err(|error| Failure::Unreachable(unreachable(&address, user, elsewhere, &error)))?;
        let rpc = AdminClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        Ok(Self { rpc, address, timeout })
    }

    /// A handle to make one call with.
    pub(crate) fn rpc(&self) -> AdminClient<Channel> {
        self.rpc.clone()
    }

    /// Waits for the answer of a call (of a stream: for its head).
    pub(crate) async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        let answer = within(self.timeout, &self.address, call).await?;
        answer.map(Response::into_inner).map_err(|status| self.failure(&status))
    }

    /// What a status means for the person who asked.
    pub(crate) fn failure(&self, status: &Status) -> Failure {
        // A status that the daemon sent has no source; one that stands for a
        // fault of the connection carries it.
        if let Some(source) = status.source() {
            return Failure::Lost(format!(
                "the connection to netd at {} broke: {}. Does netd still run, and is this its admin API?",
                self.address,
                root_cause(source)
            ));
        }
        let message = status.message().to_owned();
        match status.code() {
            Code::DeadlineExceeded => Failure::TimedOut(message),
            Code::Unimplemented => Failure::Refused(format!(
                "netd at {} does not know this request; netctl is version {}, `netctl status` tells netd's",
                self.address,
                env!("CARGO_PKG_VERSION")
            )),
            code if message.is_empty() => Failure::Refused(format!("netd refused: {code}")),
            _ => Failure::Refused(message),
        }
    }
}

async fn within<T>(limit: Duration, address: &Address, work: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(limit, work).await.map_err(|_| {
        Failure::TimedOut(format!(
            "netd at {address} did not answer within {}. If this was a change, it may still happen; --timeout waits \
             longer",
            units::duration(limit)
        ))
    })
}

async fn open(address: &Address) -> io::Result<Channel> {
    match address {
        Address::Unix(path) => channel(UnixStream::connect(path).await?).await,
        Address::Inet(address) => channel(TcpStream::connect(address).await?).await,
    }
}

/// A channel over a stream that is already connected: so the error of
/// connecting is the plain one of the kernel, and a broken channel is not
/// silently built anew against another daemon.
async fn channel<S>(stream: S) -> io::Result<Channel>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stream = Mutex::new(Some(TokioIo::new(stream)));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.lock().ok().and_then(|mut stream| stream.take());
        async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    Endpoint::from_static("http://localhost")
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .connect_with_connector(connector)
        .await
        .map_err(|error| io::Error::other(root_cause(&error)))
}

fn unreachable(address: &Address, user: &str, elsewhere: &str, error: &io::Error) -> String {
    let head = format!("cannot reach netd at {address}");
    match (error.kind(), address) {
        (io::ErrorKind::NotFound, _) => {
            format!("{head}: there is no such socket. Is netd running? {elsewhere}")
        }
        (io::ErrorKind::ConnectionRefused, Address::Unix(_)) => {
            format!("{head}: the socket's file is there, but nobody listens: netd has ended. {elsewhere}")
        }
        (io::ErrorKind::ConnectionRefused, Address::Inet(_)) => format!(
            "{head}: nobody listens there. Is netd running, and does its `admin.tcp` say this address? {elsewhere}"
        ),
        (io::ErrorKind::PermissionDenied, _) => format!(
            "{head}: the user {user} may not use the socket. Be root, netd's own user, or a member of the group that \
             `admin.group` names"
        ),
        _ => format!("{head}: {error}. {elsewhere}"),
    }
}

/// The innermost error: the outer ones say "transport error" only.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
