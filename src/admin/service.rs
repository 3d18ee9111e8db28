//! The admin API: each call checks, asks control, and puts the answer into
//! words.

use std::time::{Duration, SystemTime};

use tokio::{
    sync::{
        broadcast::{
            self,
            error::{RecvError, TryRecvError},
        },
        mpsc, watch,
    },
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    auth::Peer,
    convert::{incoming, outgoing, upgrade},
};
use crate::{
    config::Config,
    control::{self, Handle, Refusal, Reply},
    pb::{self, admin_server::Admin},
};

/// The Controller has so long to answer a call.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Messages made ahead for a client that reads slowly.
const AHEAD: usize = 1;

type Answer<T> = Result<Response<T>, Status>;
type Messages<T> = ReceiverStream<Result<T, Status>>;

/// Serves [`Admin`] from a [`Handle`].
#[derive(Debug, Clone)]
pub(super) struct Service {
    /// To the Controller.
    pub(super) handle: Handle,
    /// Becomes true when the server stops: streams of events end.
    pub(super) stopping: watch::Receiver<bool>,
    /// Writes a configuration as TOML.
    pub(super) render: fn(&Config) -> String,
}

impl Service {
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> control::Request) -> Result<T, Status> {
        ask(&self.handle, request).await.map_err(outgoing::refused)
    }
}

#[tonic::async_trait]
impl Admin for Service {
    type ListConnectionsStream = Messages<pb::ListConnectionsResponse>;
    type DrainStream = Messages<pb::DrainProgress>;
    type WatchDrainStream = Messages<pb::DrainProgress>;
    type WatchEventsStream = Messages<pb::Event>;
    type UpgradeStream = Messages<pb::UpgradeProgress>;
    type CheckStream = Messages<pb::CheckResult>;

    async fn get_status(&self, _: Request<pb::GetStatusRequest>) -> Answer<pb::GetStatusResponse> {
        Ok(Response::new(outgoing::status(self.ask(control::Request::Status).await?)))
    }

    async fn list_listeners(&self, request: Request<pb::ListListenersRequest>) -> Answer<pb::ListListenersResponse> {
        let all = self.ask(control::Request::Listeners).await?;
        let some = outgoing::only("listener", &request.get_ref().name, all, |view| &view.config.name)?;
        Ok(Response::new(pb::ListListenersResponse { listeners: some.into_iter().map(outgoing::listener).collect() }))
    }

    async fn list_pools(&self, request: Request<pb::ListPoolsRequest>) -> Answer<pb::ListPoolsResponse> {
        let all = self.ask(control::Request::Pools).await?;
        let some = outgoing::only("pool", &request.get_ref().name, all, |view| &view.name)?;
        Ok(Response::new(pb::ListPoolsResponse { pools: some.into_iter().map(outgoing::pool).collect() }))
    }

    async fn list_connections(
        &self,
        request: Request<pb::ListConnectionsRequest>,
    ) -> Answer<Self::ListConnectionsStream> {
        let (query, limit) = checked(incoming::connections(request.into_inner()))?;
        let handle = self.handle.clone();
        Ok(streamed(move |client| pages(handle, query, limit, client)))
    }

    async fn close_connection(
        &self,
        request: Request<pb::CloseConnectionRequest>,
    ) -> Answer<pb::CloseConnectionResponse> {
        let (peer, request) = split(request);
        let request = checked(incoming::close(request, peer.name()))?;
        let outcome = self.ask(|reply| control::Request::Close(request, reply)).await?;
        Ok(Response::new(outgoing::closed(outcome)))
    }

    async fn get_config(&self, _: Request<pb::GetConfigRequest>) -> Answer<pb::GetConfigResponse> {
        let view = self.ask(control::Request::Config).await?;
        Ok(Response::new(pb::GetConfigResponse {
            toml: (self.render)(&view.config),
            generation: view.generation,
            path: view.path.unwrap_or_default(),
            applied_at: outgoing::at(view.applied_at),
            candidate_by: view.candidate_by.unwrap_or_default(),
        }))
    }

    async fn plan(&self, request: Request<pb::PlanRequest>) -> Answer<pb::PlanResponse> {
        let candidate = incoming::candidate(request.into_inner().toml);
        let plan = self.ask(|reply| control::Request::Plan(candidate, reply)).await?;
        Ok(Response::new(outgoing::plan(plan)))
    }

    async fn reload(&self, request: Request<pb::ReloadRequest>) -> Answer<pb::ReloadResponse> {
        let (peer, request) = split(request);
        let request = checked(incoming::reload(request, peer.name()))?;
        let outcome = self.ask(|reply| control::Request::Reload(request, reply)).await?;
        Ok(Response::new(outgoing::reloaded(outcome)))
    }

    async fn confirm(&self, request: Request<pb::ConfirmRequest>) -> Answer<pb::ConfirmResponse> {
        let (peer, request) = split(request);
        let request = checked(incoming::generations::confirm(request, peer.name()))?;
        let generation = self.ask(|reply| control::Request::Confirm(request, reply)).await?;
        Ok(Response::new(pb::ConfirmResponse { generation }))
    }

    async fn rollback(&self, request: Request<pb::RollbackRequest>) -> Answer<pb::RollbackResponse> {
        let (peer, request) = split(request);
        let request = checked(incoming::generations::rollback(request, peer.name()))?;
        let outcome = self.ask(|reply| control::Request::Rollback(request, reply)).await?;
        Ok(Response::new(outgoing::generations::rolled_back(outcome)))
    }

    async fn get_history(&self, _: Request<pb::GetHistoryRequest>) -> Answer<pb::GetHistoryResponse> {
        let entries = self.ask(control::Request::History).await?;
        let entries = entries.into_iter().map(outgoing::generations::entry).collect();
        Ok(Response::new(pb::GetHistoryResponse { entries }))
    }

    async fn drain(&self, request: Request<pb::DrainRequest>) -> Answer<Self::DrainStream> {
        let (peer, request) = split(request);
        let request = checked(incoming::drain(request, peer.name()))?;
        let progress = self.ask(|reply| control::Request::Drain(request, reply)).await?;
        Ok(streamed(move |client| forward(progress, client)))
    }

    async fn watch_drain(&self, request: Request<pb::WatchDrainRequest>) -> Answer<Self::WatchDrainStream> {
        let target = checked(incoming::target(request.into_inner().target))?;
        let progress = self.ask(|reply| control::Request::WatchDrain(target, reply)).await?;
        Ok(streamed(move |client| forward(progress, client)))
    }

    async fn undrain(&self, request: Request<pb::UndrainRequest>) -> Answer<pb::UndrainResponse> {
        let (peer, request) = split(request);
        let target = checked(incoming::target(request.target))?;
        let by = checked(incoming::provenance(request.by, peer.name()))?;
        self.ask(|reply| control::Request::Undrain(target, by, reply)).await?;
        Ok(Response::new(pb::UndrainResponse {}))
    }

    async fn start_listener(&self, request: Request<pb::StartListenerRequest>) -> Answer<pb::StartListenerResponse> {
        let (peer, request) = split(request);
        let name = checked(incoming::name("name", request.name))?;
        let by = checked(incoming::provenance(request.by, peer.name()))?;
        let explanation = self.ask(|reply| control::Request::StartListener(name, by, reply)).await?;
        Ok(Response::new(outgoing::started(explanation)))
    }

    async fn stop_listener(&self, request: Request<pb::StopListenerRequest>) -> Answer<pb::StopListenerResponse> {
        let (peer, request) = split(request);
        let request = checked(incoming::stop(request, peer.name()))?;
        self.ask(|reply| control::Request::StopListener(request, reply)).await?;
        Ok(Response::new(pb::StopListenerResponse {}))
    }

    async fn set_endpoint(&self, request: Request<pb::SetEndpointRequest>) -> Answer<pb::SetEndpointResponse> {
        let (peer, request) = split(request);
        let request = checked(incoming::set_endpoint(request, peer.name()))?;
        let view = self.ask(|reply| control::Request::SetEndpoint(request, reply)).await?;
        Ok(Response::new(pb::SetEndpointResponse { endpoint: Some(outgoing::endpoint(view)) }))
    }

    async fn set_split(&self, request: Request<pb::SetSplitRequest>) -> Answer<pb::SetSplitResponse> {
        let (peer, request) = split(request);
        let request = checked(incoming::balancing::set_split(request, peer.name()))?;
        let view = self.ask(|reply| control::Request::SetSplit(request, reply)).await?;
        Ok(Response::new(pb::SetSplitResponse { listener: Some(outgoing::listener(view)) }))
    }

    async fn explain(&self, request: Request<pb::ExplainRequest>) -> Answer<pb::ExplainResponse> {
        let request = checked(incoming::balancing::explain(request.into_inner()))?;
        let choice = self.ask(|reply| control::Request::Explain(request, reply)).await?;
        Ok(Response::new(outgoing::balancing::choice(choice)))
    }

    async fn check(&self, request: Request<pb::CheckRequest>) -> Answer<Self::CheckStream> {
        let request = checked(incoming::checks::check(request.into_inner()))?;
        let results = self.ask(|reply| control::Request::Check(request, reply)).await?;
        Ok(streamed(move |client| results_of(results, client)))
    }

    async fn rebalance(&self, request: Request<pb::RebalanceRequest>) -> Answer<pb::RebalanceResponse> {
        let (peer, request) = split(request);
        let request = checked(incoming::rebalance(request, peer.name()))?;
        let moved = self.ask(|reply| control::Request::Rebalance(request, reply)).await?;
        Ok(Response::new(outgoing::rebalanced(moved)))
    }

    async fn why(&self, request: Request<pb::WhyRequest>) -> Answer<pb::WhyResponse> {
        let object = checked(incoming::name("object", request.into_inner().object))?;
        let explanation = self.ask(|reply| control::Request::Why(object, reply)).await?;
        Ok(Response::new(outgoing::explanation(explanation)))
    }

    async fn set_log_level(&self, request: Request<pb::SetLogLevelRequest>) -> Answer<pb::SetLogLevelResponse> {
        let (peer, request) = split(request);
        let level = checked(incoming::log_level(&request.level))?;
        let by = checked(incoming::provenance(request.by, peer.name()))?;
        let previous = self.ask(|reply| control::Request::SetLogLevel(level, by, reply)).await?;
        Ok(Response::new(pb::SetLogLevelResponse { previous: previous.as_str().to_owned() }))
    }

    async fn watch_events(&self, request: Request<pb::WatchEventsRequest>) -> Answer<Self::WatchEventsStream> {
        let kinds = checked(incoming::event_kinds(&request.get_ref().kinds))?;
        let (events, stopping) = (self.handle.events(), self.stopping.clone());
        Ok(streamed(move |client| watch(Watch { events, kinds, client }, stopping)))
    }

    async fn shutdown(&self, request: Request<pb::ShutdownRequest>) -> Answer<pb::ShutdownResponse> {
        let (peer, request) = split(request);
        let request = checked(incoming::shutdown(request, peer.name()))?;
        let plan = self.ask(|reply| control::Request::Shutdown(request, reply)).await?;
        Ok(Response::new(outgoing::shutdown(plan)))
    }

    async fn upgrade(&self, request: Request<pb::UpgradeRequest>) -> Answer<Self::UpgradeStream> {
        let (peer, request) = split(request);
        let request = checked(upgrade::request(request, peer.name()))?;
        let progress = self.ask(|reply| control::Request::Upgrade(request, reply)).await?;
        Ok(streamed(move |client| upgraded(progress, client)))
    }
}

/// Asks, and waits for a bounded time: the Controller has its own, shorter
/// deadlines for what workers have to do.
async fn ask<T>(handle: &Handle, request: impl FnOnce(Reply<T>) -> control::Request) -> Result<T, Refusal> {
    timeout(ANSWER_TIMEOUT, handle.ask(request)).await.unwrap_or_else(|_| {
        let text = format!("no answer within {ANSWER_TIMEOUT:?}; a change may still be carried out: look at GetStatus");
        Err(Refusal::Timeout(text))
    })
}

fn split<T>(request: Request<T>) -> (Peer, T) {
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or_else(Peer::unknown);
    (peer, request.into_inner())
}

fn checked<T>(request: Result<T, Refusal>) -> Result<T, Status> {
    request.map_err(outgoing::refused)
}

/// The client's end of a stream.
type Client<T> = mpsc::Sender<Result<T, Status>>;

/// A stream that a task feeds. The task ends when its work is done or the
/// client is gone.
fn streamed<T, F>(feed: impl FnOnce(Client<T>) -> F) -> Response<Messages<T>>
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (client, messages) = mpsc::channel(AHEAD);
    tokio::spawn(feed(client));
    Response::new(ReceiverStream::new(messages))
}

/// Asks for page after page, each only when the one before was taken.
async fn pages(
    handle: Handle,
    mut query: control::ConnectionQuery,
    mut limit: Option<u64>,
    client: Client<pb::ListConnectionsResponse>,
) {
    let page_size = query.page_size;
    loop {
        if let Some(left) = limit {
            query.page_size = page_size.min(usize::try_from(left).unwrap_or(page_size));
        }
        let page = tokio::select! {
            page = ask(&handle, |reply| control::Request::Connections(query.clone(), reply)) => page,
            () = client.closed() => return,
        };
        let page = match page {
            Ok(page) => page,
            Err(refusal) => {
                let _ = client.send(Err(outgoing::refused(refusal))).await;
                return;
            }
        };
        let last = page.connections.last().map(|view| view.id).filter(|_| page.more);
        limit = limit.map(|left| left.saturating_sub(page.connections.len() as u64));
        query.after = last;
        let message = pb::ListConnectionsResponse {
            connections: page.connections.into_iter().map(outgoing::connection).collect(),
            next_page_token: last.map(outgoing::id).unwrap_or_default(),
        };
        if client.send(Ok(message)).await.is_err() || last.is_none() || limit == Some(0) {
            return;
        }
    }
}

/// Passes on the progress of a drain. The drain itself goes on without us.
async fn forward(mut progress: mpsc::Receiver<control::DrainProgress>, client: Client<pb::DrainProgress>) {
    loop {
        let next = tokio::select! {
            next = progress.recv() => next,
            () = client.closed() => return,
        };
        let message = next.map(outgoing::progress).ok_or_else(|| outgoing::refused(Refusal::ShuttingDown));
        let last = message.as_ref().map_or(true, |progress| progress.done);
        if client.send(message).await.is_err() || last {
            return;
        }
    }
}

/// Passes on what checks came to; without a client they end.
async fn results_of(mut results: control::CheckResults, client: Client<pb::CheckResult>) {
    loop {
        let next = tokio::select! {
            next = results.recv() => next,
            () = client.closed() => return,
        };
        let Some(result) = next else { return };
        if client.send(Ok(outgoing::health::checked(result))).await.is_err() {
            return;
        }
    }
}

/// Passes on the progress of an upgrade, which goes on without us.
async fn upgraded(mut progress: mpsc::Receiver<control::UpgradeProgress>, client: Client<pb::UpgradeProgress>) {
    while let Some(message) = progress.recv().await {
        if client.send(Ok(upgrade::progress(message))).await.is_err() {
            return;
        }
    }
}

struct Watch {
    events: broadcast::Receiver<control::Event>,
    kinds: Vec<control::EventKind>,
    client: Client<pb::Event>,
}

impl Watch {
    /// Sends one event, if it is wanted. False: the client is gone.
    async fn send(&self, event: control::Event) -> bool {
        let wanted = self.kinds.is_empty() || self.kinds.contains(&event.kind);
        !wanted || self.client.send(Ok(outgoing::event(event))).await.is_ok()
    }

    async fn send_missed(&self, count: u64) -> bool {
        self.client.send(Ok(outgoing::missed(count, now()))).await.is_ok()
    }
}

/// Passes on events until the client is gone or the server stops; then what
/// has happened until then is still told.
async fn watch(mut watch: Watch, mut stopping: watch::Receiver<bool>) {
    loop {
        let event = tokio::select! {
            biased;
            () = watch.client.closed() => return,
            event = watch.events.recv() => event,
            _ = stopping.wait_for(|&stopping| stopping) => break,
        };
        let going_on = match event {
            Ok(event) => watch.send(event).await,
            Err(RecvError::Lagged(count)) => watch.send_missed(count).await,
            Err(RecvError::Closed) => false,
        };
        if !going_on {
            return;
        }
    }
    loop {
        let going_on = match watch.events.try_recv() {
            Ok(event) => watch.send(event).await,
            Err(TryRecvError::Lagged(count)) => watch.send_missed(count).await,
            Err(TryRecvError::Empty | TryRecvError::Closed) => false,
        };
        if !going_on {
            return;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a notice of missed events has no other time than the present")]
fn now() -> SystemTime {
    SystemTime::now()
}
