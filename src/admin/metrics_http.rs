//! `/metrics`, `/healthz` and `/readyz` over HTTP/1.

use std::{
    io,
    net::{self, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use nix::sys::resource::{UsageWho, getrusage};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    accept::{Gate, Guarded, Socket},
    answering::Answering,
    families::families,
    reserve::Reserve,
};
use crate::{
    control::{DaemonState, Handle, Refusal, Reply, Request},
    metrics::Format,
};

/// Connections at once.
const LIMIT: usize = 128;
/// File descriptors kept back.
const RESERVE: usize = 2;
/// A request's head must be there after this; an idle connection ends then.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest life of a connection: a client that does not read cannot stay.
const LIFETIME: Duration = Duration::from_secs(300);
/// The Controller has so long to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages made at once; more requests wait.
const PAGES: usize = 4;
/// Open requests get so long to end when the server stops.
const GRACE: Duration = Duration::from_secs(1);

const INDEX: &str = "netd\n\n\
    /metrics  figures for Prometheus (text format, or OpenMetrics by Accept header)\n\
    /healthz  200 while the daemon answers\n\
    /readyz   200 while it accepts connections, 503 once a drain has begun\n";

/// The metrics page's listening socket, bound before privileges are dropped.
#[derive(Debug)]
pub struct MetricsListener {
    listener: net::TcpListener,
    gate: Gate,
    answering: Answering,
}

impl MetricsListener {
    /// Binds the address.
    ///
    /// # Errors
    /// What the system says, with the address.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = net::TcpListener::bind(address).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::AddrInUse => "; choose another `metrics.listen`, or `\"off\"`",
                _ => "",
            };
            io::Error::new(error.kind(), format!("cannot serve metrics on {address}: {error}{hint}"))
        })?;
        Self::on(listener)
    }

    /// Takes a listening socket that a predecessor has handed over, if it is
    /// bound to this address; else binds it.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn adopt(address: SocketAddr, given: Option<OwnedFd>) -> io::Result<Self> {
        let given = given.map(net::TcpListener::from);
        match given.filter(|given| given.local_addr().is_ok_and(|bound| bound == address)) {
            Some(listener) => Self::on(listener),
            None => Self::bind(address),
        }
    }

    fn on(listener: net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let gate = Gate::new("metrics", LIMIT, Reserve::new(RESERVE)?);
        Ok(Self { listener, gate, answering: Answering::default() })
    }

    /// A duplicate for a successor.
    ///
    /// # Errors
    /// If file descriptors run out.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Answers only while this is true.
    pub fn answer_while(&mut self, switch: watch::Receiver<bool>) {
        self.answering = Answering::follow(switch);
    }

    /// The address in fact bound.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Serves until `shutdown` is ready; requests under way then have 1 s to end.
///
/// # Errors
/// When the listener does not fit this runtime.
pub async fn serve(listener: MetricsListener, handle: Handle, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let MetricsListener { listener, gate, mut answering } = listener;
    let listener = TcpListener::from_std(listener)?;
    let router = router(handle);
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            () = answering.begins() => {}
        }
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = answering.ends() => {}
            guarded = gate.accept(|| async { Ok(Socket::Tcp(listener.accept().await?.0)) }) => {
                connections.spawn(connection(guarded, router.clone(), answering.clone(), stopping.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    stop.send_replace(true);
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    Ok(())
}

async fn connection(guarded: Guarded, router: Router, mut answering: Answering, mut stopping: watch::Receiver<bool>) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(16 * 1024);
    let connection = builder.serve_connection(TokioIo::new(guarded), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = timeout(LIFETIME, &mut connection) => return,
        () = answering.ends() => connection.as_mut().graceful_shutdown(),
        _ = stopping.wait_for(|&stop| stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

#[derive(Debug, Clone)]
struct Pages {
    handle: Handle,
    making: Arc<Semaphore>,
}

fn router(handle: Handle) -> Router {
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found; there are /metrics, /healthz and /readyz\n") })
        .with_state(Pages { handle, making: Arc::new(Semaphore::new(PAGES)) })
}

async fn metrics(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    let _permit = pages.making.acquire().await;
    let snapshot = match ask(&pages.handle, Request::Snapshot).await {
        Ok(snapshot) => snapshot,
        Err(refusal) => return unavailable(&refusal.to_string()),
    };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::negotiate(accept);
    let page = format.encode(&families(&snapshot, cpu_time()));
    ([(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")], page).into_response()
}

async fn healthz(State(pages): State<Pages>) -> Response {
    match ask(&pages.handle, Request::Status).await {
        Ok(_) => "ok\n".into_response(),
        Err(refusal) => unavailable(&refusal.to_string()),
    }
}

async fn readyz(State(pages): State<Pages>) -> Response {
    match ask(&pages.handle, Request::Status).await.map(|status| status.state) {
        Ok(DaemonState::Serving) => "ready\n".into_response(),
        Ok(state) => unavailable(state.as_str()),
        Err(refusal) => unavailable(&refusal.to_string()),
    }
}

fn unavailable(reason: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}

async fn ask<T>(handle: &Handle, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Refusal> {
    timeout(ANSWER_TIMEOUT, handle.ask(request))
        .await
        .unwrap_or_else(|_| Err(Refusal::Timeout(format!("netd did not answer within {ANSWER_TIMEOUT:?}"))))
}

/// What the process has used so far, user and system mode. Needs no file
/// descriptor.
fn cpu_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    [usage.user_time(), usage.system_time()]
        .into_iter()
        .map(|time| {
            let micros = time.tv_sec().saturating_mul(1_000_000).saturating_add(time.tv_usec());
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        })
        .sum()
}
