//! Keeps the gRPC health service (grpc.health.v1) in step with the daemon.

use std::time::Duration;

use tokio::{sync::broadcast::error::RecvError, time};
use tonic::server::NamedService;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::service::Service;
use crate::{
    control::{DaemonState, Handle, Request},
    pb::admin_server::AdminServer,
};

/// The state is looked at so often, and whenever something happens.
const INTERVAL: Duration = Duration::from_secs(1);

/// The Controller has so long to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// At least so long between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// SERVING while the daemon is `serving`, else NOT_SERVING; for the whole
/// server (`""`) and for the admin service; NOT_SERVING, too, when the
/// Controller does not answer. Never returns.
pub(super) async fn follow(handle: Handle, reporter: HealthReporter) {
    let mut events = handle.events();
    loop {
        let status = time::timeout(ANSWER_TIMEOUT, handle.ask(Request::Status)).await;
        let serving = matches!(status, Ok(Ok(status)) if status.state == DaemonState::Serving);
        report(&reporter, serving).await;
        time::sleep(PAUSE).await;
        // Missed events are a reason to look, too.
        if let Ok(Err(RecvError::Closed)) = time::timeout(INTERVAL, events.recv()).await {
            time::sleep(INTERVAL).await;
        }
    }
}

/// Sets both services.
pub(super) async fn report(reporter: &HealthReporter, serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in ["", <AdminServer<Service> as NamedService>::NAME] {
        reporter.set_service_status(service, status).await;
    }
}
