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

/// At least so long between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// SERVING while the daemon is `serving`, else NOT_SERVING; for the whole
/// server (`""`) and for the admin service. Never returns.
pub(super) async fn follow(handle: Handle, reporter: HealthReporter) {
    let mut events = handle.events();
    loop {
        let state = handle.ask(Request::Status).await.map(|status| status.state);
        report(&reporter, state == Ok(DaemonState::Serving)).await;
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
