//! `/metrics` and its neighbours, asked by hand.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};

use super::fake::{Fake, run};
use crate::{
    admin::{MetricsListener, serve_metrics},
    control::{DaemonState, Refusal},
};

struct Page {
    fake: Fake,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Page {
    fn start() -> Self {
        let listener = MetricsListener::bind(([127, 0, 0, 1], 0).into()).expect("binds");
        let address = listener.local_address().expect("bound");
        let fake = Fake::start();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve_metrics(listener, fake.handle.clone(), async { drop(stopped.await) }));
        Self { fake, address, stop, serving }
    }

    /// Status line, headers and body.
    async fn ask(&self, method: &str, path: &str, headers: &str) -> (String, String, String) {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("is UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("has a head");
        let (status, headers) = head.split_once("\r\n").expect("has headers");
        (status["HTTP/1.1 ".len()..].to_owned(), headers.to_ascii_lowercase(), body.to_owned())
    }
}

#[test]
fn metrics_in_both_formats() {
    run(async {
        let page = Page::start();
        let (status, headers, body) = page.ask("GET", "/metrics", "").await;
        assert_eq!(status, "200 OK");
        assert!(headers.contains("content-type: text/plain; version=0.0.4"), "{headers}");
        assert!(body.contains("\nnetd_state{state=\"serving\"} 1\n"), "{body}");
        let (_, headers, body) =
            page.ask("GET", "/metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n").await;
        assert!(headers.contains("content-type: application/openmetrics-text; version=1.0.0"), "{headers}");
        assert!(body.ends_with("# EOF\n"));
    });
}

#[test]
fn health_and_readiness() {
    run(async {
        let page = Page::start();
        assert_eq!(page.ask("GET", "/healthz", "").await.0, "200 OK");
        let (status, _, body) = page.ask("GET", "/readyz", "").await;
        assert_eq!((status.as_str(), body.as_str()), ("200 OK", "ready\n"));
        for state in [DaemonState::Starting, DaemonState::Draining, DaemonState::Drained, DaemonState::Stopping] {
            page.fake.script(|script| script.state = Some(state));
            let (status, _, body) = page.ask("GET", "/readyz", "").await;
            assert_eq!((&status[..3], body.trim_end()), ("503", state.as_str()));
            assert_eq!(page.ask("GET", "/healthz", "").await.0, "200 OK");
        }
        page.fake.script(|script| script.refusal = Some(Refusal::ShuttingDown));
        for path in ["/healthz", "/readyz", "/metrics"] {
            let (status, _, body) = page.ask("GET", path, "").await;
            assert_eq!((&status[..3], body.as_str()), ("503", "netd is shutting down\n"), "{path}");
        }
    });
}

#[test]
fn other_paths_and_methods() {
    run(async {
        let page = Page::start();
        assert!(page.ask("GET", "/", "").await.2.contains("/readyz"));
        assert_eq!(&page.ask("GET", "/secret", "").await.0[..3], "404");
        assert_eq!(&page.ask("POST", "/metrics", "Content-Length: 0\r\n").await.0[..3], "405");
        let (status, headers, body) = page.ask("HEAD", "/metrics", "").await;
        assert_eq!((status.as_str(), body.as_str()), ("200 OK", ""));
        assert!(!headers.contains("content-length: 0"), "{headers}");
    });
}

#[test]
fn stops_with_a_silent_connection_open() {
    run(async {
        let page = Page::start();
        let mut silent = TcpStream::connect(page.address).await.expect("connects");
        page.ask("GET", "/", "").await;
        drop(page.stop);
        page.serving.await.expect("no panic").expect("no failure");
        assert_eq!(silent.read(&mut [0]).await.expect("end of stream"), 0);
    });
}
