//! The control thread's life: admin API, metrics, signals and the Controller
//! on one tokio runtime, until the Controller is done.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    sync::{
        broadcast::{self, error::RecvError},
        mpsc, watch,
    },
    task::{JoinHandle, LocalSet},
    time::timeout,
};

use crate::{
    admin::{Access, AdminListeners, Group, MetricsListener, serve_admin, serve_metrics},
    config::Config,
    control::{Controller, End, Event, EventKind, Handle, HeirHandle, Signal},
    daemon::{
        banner,
        failure::Failure,
        start::{Arrival, Prepared},
        tell,
        upgrade::{Signs, tell_stories},
    },
    handover::{self, Outcome, Signpost, Succession},
    logging::{AccessLogging, Logging},
    process::pidfile::PidFile,
    sys::process::exit_at_once,
};

/// After handing over, open calls get so long to end.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Signals that may wait; more of the same say nothing new.
const SIGNALS: usize = 16;

/// Serves until the daemon has stopped.
/// `predecessor`: the netd that this one takes over from.
pub(super) fn run(prepared: Prepared, arrival: Arrival, predecessor: Option<handover::Arrival>) -> Result<(), Failure> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start the control plane: {error}")))?;
    let (logging, access) = (Arc::clone(&prepared.logging), Arc::clone(&prepared.access));
    let outcome = LocalSet::new().block_on(&runtime, serve(prepared, arrival, predecessor));
    access.finish();
    logging.flush();
    outcome
}

async fn serve(
    prepared: Prepared,
    mut arrival: Arrival,
    predecessor: Option<handover::Arrival>,
) -> Result<(), Failure> {
    let Prepared { control, admin, admin_group, metrics, logging, access, banner, .. } = prepared;
    let Prepared { belongings, former_pid_file, starter, upgrades, .. } = prepared;
    let admin_addresses = admin.addresses();
    let started = async {
        let signals =
            listen_to_signals(&logging, &access).map_err(|error| Failure::new(format!("signals: {error}")))?;
        let (controller, handle) = control.launch().map_err(Failure::new)?;
        Ok::<_, Failure>((signals, controller, handle))
    };
    let (signals, mut controller, handle) = match started.await {
        Ok(started) => started,
        Err(failure) => return not_started(arrival, predecessor, failure),
    };
    let heir = match predecessor {
        Some(predecessor) => Some(stand(&mut controller, predecessor).await?),
        None => None,
    };
    if heir.is_some() {
        // Nothing is the predecessor's alone any more.
        belongings.signs.own();
        belongings.admin_file.take();
    }
    let (stop, stopping) = watch::channel(false);
    let edges = serve_edges(admin, admin_group, metrics, &handle, &stopping);
    for address in admin_addresses {
        tracing::info!(%address, "the admin API is served");
    }
    let signs = belongings.signs.clone();
    tokio::task::spawn_local(tell_stories(upgrades, starter, belongings));

    let mut events = handle.events();
    if let Some((heir, succession)) = heir {
        let taking_over = take_over(handle.events(), heir, succession, signs.clone(), former_pid_file);
        tokio::task::spawn_local(taking_over);
    }
    drop(handle);
    let mut controller = tokio::task::spawn_local(controller.run(signals));
    let ended = tokio::select! {
        biased;
        ended = &mut controller => Some(ended),
        () = until_serving(&mut events) => None,
    };
    drop(events);
    let outcome = match ended {
        Some(ended) => ended,
        None => {
            if let Some(ready) = arrival.take_ready() {
                ready.serving();
            }
            if let Some(banner) = banner {
                tell(&mut io::stderr(), &banner::embedded_default(&banner));
            }
            controller.await
        }
    };
    stop.send_replace(true);
    let end = outcome.as_ref().ok().and_then(|outcome| outcome.as_ref().ok());
    end_edges(edges, end, &signs).await;
    let outcome = match outcome {
        Ok(outcome) => outcome.map(|_| ()).map_err(Failure::new),
        Err(error) => Err(Failure::new(format!("the control plane has failed: {error}"))),
    };
    if let Some(ready) = arrival.take_ready() {
        let why = outcome.as_ref().err().map_or("it was told to stop before it served", |failure| &failure.message);
        ready.failed(why, 1);
    }
    outcome
}

/// Waits for the edges, and takes away what shows where the daemon is.
async fn end_edges(edges: Vec<JoinHandle<()>>, end: Option<&End>, signs: &Signs) {
    if let Some(End::Succeeded { stop: true }) = end {
        // It was meant for the daemon, whichever process that is.
        signs.stop_successor();
    }
    for edge in edges {
        // It has told of its own fault, and so has a panic.
        match end {
            Some(End::Succeeded { .. }) => drop(timeout(LAST_ANSWERS, edge).await),
            _ => drop(edge.await),
        }
    }
    if let Some(Err(error)) = signs.take_pid_file().map(PidFile::remove) {
        tracing::warn!(%error, "the pid file stays");
    }
}

/// Tells whoever waits that nothing comes of it.
fn not_started(arrival: Arrival, predecessor: Option<handover::Arrival>, failure: Failure) -> Result<(), Failure> {
    match predecessor {
        Some(predecessor) => {
            predecessor.decline(&failure.message, failure.status);
            Err(failure)
        }
        None => arrival.failed(failure).map(|_| ()),
    }
}

/// The admin API and `/metrics`, each in its task.
fn serve_edges(
    admin: AdminListeners,
    admin_group: Option<Group>,
    metrics: Option<MetricsListener>,
    handle: &Handle,
    stopping: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let stopped = |mut stopping: watch::Receiver<bool>| async move {
        // A sender that is gone means the same.
        let _ = stopping.wait_for(|&stop| stop).await;
    };
    let access = Access::new(admin_group);
    let serving = serve_admin(admin, handle.clone(), access, Config::to_toml, stopped(stopping.clone()));
    let mut edges = vec![tokio::task::spawn_local(edge("the admin API", serving))];
    if let Some(metrics) = metrics {
        let address = metrics.local_address();
        tracing::info!(address = address.ok().map(tracing::field::display), "metrics are served");
        let serving = serve_metrics(metrics, handle.clone(), stopped(stopping.clone()));
        edges.push(tokio::task::spawn_local(edge("/metrics", serving)));
    }
    edges
}

/// The workers stand; waits for the predecessor's word to accept. `None`: it
/// has ended, and this process has what there is.
async fn stand(
    controller: &mut Controller,
    predecessor: handover::Arrival,
) -> Result<(HeirHandle, Option<Succession>), Failure> {
    if let Err(reason) = controller.stand().await {
        predecessor.decline(&reason, 1);
        return Err(Failure::new(reason));
    }
    let heir = controller.heir();
    // Nothing else is to be done meanwhile.
    match predecessor.ready().map_err(Failure::new)? {
        Outcome::Go(succession) => {
            controller.keep_places(succession.expected());
            Ok((heir, Some(succession)))
        }
        Outcome::PredecessorGone => Ok((heir, None)),
    }
}

/// Takes over what moves, once the workers accept.
async fn take_over(
    mut events: broadcast::Receiver<Event>,
    heir: HeirHandle,
    succession: Option<Succession>,
    mut signs: Signs,
    former_pid_file: Option<PidFile>,
) {
    until_serving(&mut events).await;
    match succession {
        Some(succession) => {
            let taken = handover::take_over(&heir, succession, &mut signs).await;
            if let Some(reason) = taken.called_off {
                // Everything is the predecessor's: nothing may be closed in order, or removed.
                tracing::error!("the predecessor calls the upgrade off: {reason}");
                exit_at_once(1);
            }
            for trouble in taken.troubles {
                tracing::warn!("taking over: {trouble}");
            }
        }
        None => {
            if let Err(trouble) = signs.point_at(std::process::id()) {
                tracing::warn!("{trouble}");
            }
        }
    }
    if let Some(mut former) = former_pid_file {
        former.take();
    }
    // Without it the Controller knows that nothing more comes.
    drop(heir);
}

/// Waits until every worker accepts: whoever waits for the start is not to be
/// told earlier.
async fn until_serving(events: &mut broadcast::Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(event) if event.kind == EventKind::Started => return,
            // The Controller's end will be told by itself.
            Err(RecvError::Closed) => std::future::pending().await,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
        }
    }
}

/// An edge that fails is told of at once: netd goes on without it.
async fn edge(name: &str, serving: impl Future<Output = io::Result<()>>) {
    if let Err(error) = serving.await {
        tracing::error!(%error, "{name} is not served any more");
    }
}

/// TERM, INT and QUIT stop; HUP reloads; USR1 opens the logs anew; USR2
/// upgrades.
fn listen_to_signals(logging: &Arc<Logging>, access: &Arc<AccessLogging>) -> io::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(SIGNALS);
    let meanings = [
        (SignalKind::terminate(), Signal::Term("SIGTERM")),
        (SignalKind::interrupt(), Signal::Term("SIGINT")),
        (SignalKind::quit(), Signal::Term("SIGQUIT")),
        (SignalKind::hangup(), Signal::Reload),
        (SignalKind::user_defined2(), Signal::Upgrade),
    ];
    for (kind, meaning) in meanings {
        let (mut stream, sender) = (signal(kind)?, sender.clone());
        tokio::task::spawn_local(async move {
            while stream.recv().await.is_some() {
                if let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(meaning) {
                    break;
                }
            }
        });
    }
    let mut reopen = signal(SignalKind::user_defined1())?;
    let (logging, access) = (Arc::clone(logging), Arc::clone(access));
    tokio::task::spawn_local(async move {
        while reopen.recv().await.is_some() {
            match logging.reopen() {
                Ok(()) => tracing::info!("the log was opened anew"),
                Err(error) => tracing::error!("the log could not be opened anew: {error}"),
            }
            if let Err(error) = access.reopen() {
                tracing::error!("the access log could not be opened anew: {error}");
            }
        }
    });
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn event(kind: EventKind) -> Event {
        Event { at: SystemTime::UNIX_EPOCH, kind, object: String::new(), text: String::new(), by: None }
    }

    #[test]
    fn only_the_event_that_says_so_means_that_netd_serves() {
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (handle, _requests, sender) = Handle::new();
            let mut events = handle.events();
            sender.send(event(EventKind::Shutdown)).unwrap();
            let mut waiting = std::pin::pin!(until_serving(&mut events));
            let early = std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_ready())).await;
            assert!(!early, "another event is not enough");
            sender.send(event(EventKind::Started)).unwrap();
            waiting.await;
        });
    }
}
