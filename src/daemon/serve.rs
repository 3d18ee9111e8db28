//! The control thread's life: admin API, metrics, signals and the Controller
//! on one tokio runtime, until the Controller is done.

use std::{io, sync::Arc};

use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    sync::{
        broadcast::{self, error::RecvError},
        mpsc, watch,
    },
    task::LocalSet,
};

use crate::{
    admin::{Access, serve_admin, serve_metrics},
    config::Config,
    control::{Event, EventKind, Signal},
    daemon::{
        banner,
        failure::Failure,
        start::{Arrival, Prepared},
        tell,
    },
    logging::{AccessLogging, Logging},
};

/// Signals that may wait; more of the same say nothing new.
const SIGNALS: usize = 16;

/// Serves until the daemon has stopped.
pub(super) fn run(prepared: Prepared, arrival: Arrival) -> Result<(), Failure> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start the control plane: {error}")))?;
    let (logging, access) = (Arc::clone(&prepared.logging), Arc::clone(&prepared.access));
    let outcome = LocalSet::new().block_on(&runtime, serve(prepared, arrival));
    access.flush();
    logging.flush();
    outcome
}

async fn serve(prepared: Prepared, mut arrival: Arrival) -> Result<(), Failure> {
    let Prepared { control, admin, admin_group, metrics, logging, access, pid_file, banner } = prepared;
    let admin_addresses = admin.addresses();
    let started = async {
        let signals =
            listen_to_signals(&logging, &access).map_err(|error| Failure::new(format!("signals: {error}")))?;
        let (controller, handle) = control.launch().map_err(Failure::new)?;
        Ok::<_, Failure>((signals, controller, handle))
    };
    let (signals, controller, handle) = match started.await {
        Ok(started) => started,
        Err(failure) => return arrival.failed(failure).map(|_| ()),
    };
    let (stop, stopping) = watch::channel(false);
    let stopped = |mut stopping: watch::Receiver<bool>| async move {
        // A sender that is gone means the same.
        let _ = stopping.wait_for(|&stop| stop).await;
    };
    let access = Access::new(admin_group);
    let serving = serve_admin(admin, handle.clone(), access, Config::to_toml, stopped(stopping.clone()));
    let admin = tokio::task::spawn_local(edge("the admin API", serving));
    let metrics = metrics.map(|metrics| {
        let address = metrics.local_address();
        tracing::info!(address = address.ok().map(tracing::field::display), "metrics are served");
        tokio::task::spawn_local(edge("/metrics", serve_metrics(metrics, handle.clone(), stopped(stopping))))
    });
    for address in admin_addresses {
        tracing::info!(%address, "the admin API is served");
    }

    let mut events = handle.events();
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
    for edge in [Some(admin), metrics].into_iter().flatten() {
        // It has told of its own fault, and so has a panic.
        let _ = edge.await;
    }
    if let Some(Err(error)) = pid_file.map(|file| file.remove()) {
        tracing::warn!(%error, "the pid file stays");
    }
    let outcome = match outcome {
        Ok(outcome) => outcome.map_err(Failure::new),
        Err(error) => Err(Failure::new(format!("the control plane has failed: {error}"))),
    };
    if let Some(ready) = arrival.take_ready() {
        let why = outcome.as_ref().err().map_or("it was told to stop before it served", |failure| &failure.message);
        ready.failed(why, 1);
    }
    outcome
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

/// TERM, INT and QUIT stop; HUP reloads; USR1 opens the logs anew.
fn listen_to_signals(logging: &Arc<Logging>, access: &Arc<AccessLogging>) -> io::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(SIGNALS);
    let meanings = [
        (SignalKind::terminate(), Signal::Term("SIGTERM")),
        (SignalKind::interrupt(), Signal::Term("SIGINT")),
        (SignalKind::quit(), Signal::Term("SIGQUIT")),
        (SignalKind::hangup(), Signal::Reload),
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
    use crate::control::Handle;

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
