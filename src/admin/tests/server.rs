//! What stands around the calls: health, reflection, TCP.

use tonic::transport::Endpoint;
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_client::HealthClient},
};
use tonic_reflection::pb::{v1, v1alpha};

use super::fake::{Server, run};
use crate::{
    control::DaemonState,
    pb::{self, admin_client::AdminClient},
};

#[test]
fn health_follows_the_state() {
    run(async {
        let server = Server::start();
        let mut client = HealthClient::new(server.channel().await);
        for service in ["", "netd.admin.v1.Admin"] {
            server.fake.script(|script| script.state = None);
            let request = HealthCheckRequest { service: service.into() };
            let mut watch = client.watch(request.clone()).await.expect("answers").into_inner();
            let mut until = async |wanted: ServingStatus| {
                while watch.message().await.expect("no failure").expect("goes on").status != wanted as i32 {}
            };
            until(ServingStatus::Serving).await;
            server.fake.script(|script| script.state = Some(DaemonState::Draining));
            until(ServingStatus::NotServing).await;
            let now = client.check(request).await.expect("answers").into_inner().status;
            assert_eq!(now, ServingStatus::NotServing as i32);
        }
    });
}

#[test]
fn both_reflections_list_the_services() {
    run(async {
        let server = Server::start();
        let wanted = ["grpc.health.v1.Health", "netd.admin.v1.Admin"];

        let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel().await);
        let ask = v1::ServerReflectionRequest {
            message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
            ..Default::default()
        };
        let mut answers = client.server_reflection_info(tokio_stream::once(ask)).await.expect("answers").into_inner();
        let answer = format!("{:?}", answers.message().await.expect("no failure").expect("one"));
        assert!(wanted.iter().all(|name| answer.contains(name)), "{answer}");

        let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel().await);
        let ask = v1alpha::ServerReflectionRequest {
            message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
            ..Default::default()
        };
        let mut answers = client.server_reflection_info(tokio_stream::once(ask)).await.expect("answers").into_inner();
        let answer = format!("{:?}", answers.message().await.expect("no failure").expect("one"));
        assert!(wanted.iter().all(|name| answer.contains(name)), "{answer}");
    });
}

#[test]
fn tcp_peers_are_let_in_and_named_by_address() {
    run(async {
        let server = Server::start();
        let endpoint = Endpoint::from_shared(format!("http://{}", server.tcp)).expect("an address");
        let mut client = AdminClient::new(endpoint.connect().await.expect("connects"));
        client.start_listener(pb::StartListenerRequest { name: "web".into(), by: None }).await.expect("answers");
        let seen = server.fake.script(|script| script.seen.clone());
        assert!(seen.iter().any(|request| request.contains("who: \"tcp:127.0.0.1:")), "{seen:?}");
    });
}

#[test]
fn a_request_that_is_too_large_is_refused() {
    run(async {
        let server = Server::start();
        let mut client = server.client().await;
        let toml = "#".repeat(4 * 1024 * 1024 + 1);
        let status = client.plan(pb::PlanRequest { toml }).await.expect_err("refused");
        assert_eq!(status.code(), tonic::Code::OutOfRange, "{status}");
    });
}
