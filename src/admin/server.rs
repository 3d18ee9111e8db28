//! Serves the admin API: the gRPC server and what stands around it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, UnixListener},
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, Router, Server};
use tonic_health::server::HealthReporter;

use super::{
    accept::{Gate, Guarded, Socket},
    answering::Answering,
    auth::{Access, Checked, Peer, Refusals},
    bind::AdminListeners,
    health,
    service::Service,
};
use crate::{
    config::Config,
    control::Handle,
    pb::{self, admin_server::AdminServer},
};

/// Largest request: a candidate configuration fits.
const MAX_REQUEST: usize = 4 * 1024 * 1024;
/// Calls at once on one connection.
const MAX_CALLS: u32 = 32;
/// A client that does not answer pings is taken for gone after the sum of both.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams get so long to end when the server stops.
const GRACE: Duration = Duration::from_secs(3);

/// Serves the admin API until `shutdown` is ready, then lets open calls end for
/// at most 3 s, and removes the socket's file. `render` writes a configuration
/// as TOML.
///
/// # Errors
/// When the listeners do not fit this runtime, or the server fails.
pub async fn serve(
    listeners: AdminListeners,
    handle: Handle,
    access: Access,
    render: fn(&Config) -> String,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (stop, stopping) = watch::channel(false);
    let (connections, incoming) = mpsc::channel(1);
    let (reporter, health_service) = tonic_health::server::health_reporter();
    health::report(&reporter, false).await;

    let mut tasks = JoinSet::new();
    let _file = spawn_accepting(&mut tasks, listeners, &access, &connections)?;
    drop(connections);
    tasks.spawn(health::follow(handle.clone(), reporter.clone()));

    let router = services(Service { handle, stopping: stopping.clone(), render })?.add_service(health_service);
    let mut stopped = stopping;
    let signal = async move {
        let _ = stopped.wait_for(|&stop| stop).await;
    };
    let serving = router.serve_with_incoming_shutdown(ReceiverStream::new(incoming), signal);
    finish(serving, shutdown, || stop.send_replace(true), reporter).await
}

async fn finish(
    serving: impl Future<Output = Result<(), tonic::transport::Error>>,
    shutdown: impl Future<Output = ()>,
    stop: impl FnOnce() -> bool,
    reporter: HealthReporter,
) -> io::Result<()> {
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.map_err(io::Error::other),
        () = shutdown => {}
    }
    health::report(&reporter, false).await;
    stop();
    timeout(GRACE, serving).await.unwrap_or(Ok(())).map_err(io::Error::other)
}

/// All services but health, which is open to every peer that can connect.
fn services(service: Service) -> io::Result<Router> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let admin = AdminServer::new(service).max_decoding_message_size(MAX_REQUEST);
    let v1 = reflection().build_v1().map_err(io::Error::other)?;
    let v1alpha = reflection().build_v1alpha().map_err(io::Error::other)?;
    let refusals = Arc::new(Refusals::default());
    Ok(Server::builder()
        .concurrency_limit_per_connection(MAX_CALLS as usize)
        .max_concurrent_streams(MAX_CALLS)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .add_service(Checked::new(admin, &refusals))
        .add_service(Checked::new(v1, &refusals))
        .add_service(Checked::new(v1alpha, &refusals)))
}

type Connections = mpsc::Sender<io::Result<Incoming>>;

fn spawn_accepting(
    tasks: &mut JoinSet<()>,
    listeners: AdminListeners,
    access: &Access,
    connections: &Connections,
) -> io::Result<impl Sized + use<>> {
    let (mut socket_file, answering) = (None, listeners.answering);
    if let Some((listener, file, gate)) = listeners.unix {
        let listener = UnixListener::from_std(listener)?;
        tasks.spawn(accept_unix(listener, gate, answering.clone(), access.clone(), connections.clone()));
        socket_file = Some(file);
    }
    if let Some((listener, gate)) = listeners.tcp {
        tasks.spawn(accept_tcp(TcpListener::from_std(listener)?, gate, answering, connections.clone()));
    }
    Ok(socket_file)
}

async fn accept_unix(
    listener: UnixListener,
    gate: Gate,
    mut answering: Answering,
    access: Access,
    connections: Connections,
) {
    loop {
        answering.begins().await;
        let guarded = tokio::select! {
            biased;
            () = answering.ends() => continue,
            guarded = gate.accept(|| async { Ok(Socket::Unix(listener.accept().await?.0)) }) => guarded,
        };
        let (access, reserve, connections) = (access.clone(), gate.reserve().clone(), connections.clone());
        // Finding out who it is may take long; at most as many of these tasks
        // live as the gate lets connections in.
        tokio::spawn(async move {
            let credentials = match guarded.socket() {
                Some(Socket::Unix(stream)) => stream.peer_cred().ok(),
                _ => None,
            };
            let peer = match credentials {
                Some(credentials) => access.identify(credentials.uid(), credentials.gid(), &reserve).await,
                None => Peer::unknown(),
            };
            let _ = connections.send(Ok(Incoming { guarded, peer })).await;
        });
    }
}

async fn accept_tcp(listener: TcpListener, gate: Gate, mut answering: Answering, connections: Connections) {
    loop {
        answering.begins().await;
        let guarded = tokio::select! {
            biased;
            () = answering.ends() => continue,
            guarded = gate.accept(|| async { Ok(Socket::Tcp(listener.accept().await?.0)) }) => guarded,
        };
        let address = match guarded.socket() {
            Some(Socket::Tcp(stream)) => {
                // A call is a few small frames: do not wait to fill a segment.
                let _ = stream.set_nodelay(true);
                stream.peer_addr().ok()
            }
            _ => None,
        };
        if connections.send(Ok(Incoming { guarded, peer: Peer::tcp(address) })).await.is_err() {
            return;
        }
    }
}

/// An accepted connection with what is known of its peer, which tonic puts into
/// the extensions of each request.
struct Incoming {
    guarded: Guarded,
    peer: Peer,
}

impl Connected for Incoming {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Incoming {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.guarded).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.guarded).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.guarded).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.guarded.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.guarded).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.guarded).poll_shutdown(cx)
    }
}
