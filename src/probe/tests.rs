//! Checks against small servers, and judgements piece by piece.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use proptest::prelude::*;
use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::{
    config::{self, HealthCheck, Initial, Pool, PoolHealth, ProxyVersions, SendProxy, Source, Statuses},
    control::Way,
};

fn question(address: Address, kind: CheckKind) -> Question {
    let check = HealthCheck {
        kind,
        interval: Duration::from_secs(5),
        fast_interval: Duration::from_secs(1),
        timeout: Duration::from_secs(5),
        rise: 1,
        fall: 1,
        jitter: 0,
        initial: Initial::Used,
    };
    Question { address, check: Arc::new(check), way: Way::default() }
}

fn tcp(send: &str, expect: &str) -> CheckKind {
    CheckKind::Tcp { send: send.into(), expect: expect.into() }
}

fn http() -> CheckKind {
    CheckKind::Http { path: "/healthz".into(), host: "".into(), status: Statuses::default() }
}

fn postgres() -> CheckKind {
    CheckKind::Postgres { user: "netd".into(), database: "postgres".into() }
}

fn on_runtime(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// A server that reads until it has seen `wanted`, then answers and closes.
async fn server(wanted: &'static [u8], answer: &'static [u8]) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Inet(listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            while !read.windows(wanted.len().max(1)).any(|window| window == wanted) && !wanted.is_empty() {
                if stream.read_buf(&mut read).await.unwrap() == 0 {
                    return;
                }
            }
            // In two pieces, as it may come.
            let (first, second) = answer.split_at(answer.len() / 2);
            stream.write_all(first).await.unwrap();
            tokio::task::yield_now().await;
            let _ = stream.write_all(second).await;
        }
    });
    address
}

async fn outcome(address: Address, kind: CheckKind) -> Outcome {
    SystemProber.ask(question(address, kind)).await.outcome
}

fn bad(why: &str) -> Outcome {
    Outcome::Bad(why.to_owned())
}

#[test]
fn a_connect_is_enough_where_nothing_is_said() {
    on_runtime(async {
        assert_eq!(outcome(server(b"", b"").await, tcp("", "")).await, Outcome::Good);
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(outcome(Address::Inet(nobody), tcp("", "")).await, bad("connecting: Connection refused"));
        let path = Address::Unix(PathBuf::from("/nonexistent/netd.sock"));
        assert_eq!(outcome(path, tcp("", "")).await, bad("connecting: No such file or directory"));
    });
}

#[test]
fn send_and_expect() {
    on_runtime(async {
        assert_eq!(outcome(server(b"stats\n", b"up=1\n").await, tcp("stats\n", "up=1")).await, Outcome::Good);
        let other = outcome(server(b"stats\n", b"up=0\n").await, tcp("stats\n", "up=1")).await;
        assert_eq!(other, bad("it answered `up=0\\n`, without `up=1`"));
        assert_eq!(outcome(server(b"x", b"").await, tcp("x", "y")).await, bad("it closed without an answer"));
    });
}

#[test]
fn an_answer_that_does_not_come_in_time() {
    on_runtime(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut question = question(Address::Inet(listener.local_addr().unwrap()), tcp("", "x"));
        Arc::get_mut(&mut question.check).unwrap().timeout = Duration::from_millis(50);
        let answer = SystemProber.ask(question).await;
        assert_eq!(answer.outcome, Outcome::TimedOut("no answer within 50ms".to_owned()));
        assert!(answer.took >= Duration::from_millis(50), "{:?}", answer.took);
    });
}

#[test]
fn an_answer_that_stays_open_and_is_another_one() {
    on_runtime(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut question = question(Address::Inet(listener.local_addr().unwrap()), tcp("a\n", "b"));
        Arc::get_mut(&mut question.check).unwrap().timeout = Duration::from_millis(500);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = [0; 2];
            stream.read_exact(&mut read).await.unwrap();
            stream.write_all(&read).await.unwrap();
            std::future::pending::<()>().await;
        });
        let answer = SystemProber.ask(question).await;
        let why = "it answered `a\\n`, and nothing with `b` within 500ms";
        assert_eq!(answer.outcome, Outcome::TimedOut(why.to_owned()));
        assert_eq!(
            lacking(&tcp("", "y"), &[b'x'; 99]),
            format!("it answered `{}...`, and nothing with `y`", "x".repeat(60))
        );
    });
}

#[test]
fn http_by_status_also_over_a_unix_socket() {
    on_runtime(async {
        let end = b"Connection: close\r\n\r\n";
        let good = server(end, b"HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(outcome(good, http()).await, Outcome::Good);
        let ill = server(end, b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
        assert_eq!(outcome(ill, http()).await, bad("it answered status 503, and good is 200-299"));
        let other = server(end, b"SSH-2.0-x\r\n").await;
        assert_eq!(outcome(other, http()).await, bad("it answered `SSH-2`, which is not HTTP/1"));

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            while !read.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut read).await.unwrap();
            }
            assert!(read.starts_with(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"));
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").await.unwrap();
        });
        assert_eq!(outcome(Address::Unix(path), http()).await, Outcome::Good);
    });
}

#[test]
fn http_status_lines() {
    let judge = |received: &[u8]| judge(&http(), received, false);
    assert_eq!(judge(b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n"), Judgement::Good);
    assert_eq!(judge(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 50"), Judgement::More);
    assert_eq!(judge(b"HTTP/1.1 200\r\n"), Judgement::Good, "the reason may be left out");
    for wrong in ["HTTP/1.1 20x OK\r\n", "HTTP/1.1 2000\r\n", "HTTP/1.1  200\r\n", "HTTP/2 200\n", "\r\n", "GET"] {
        assert!(matches!(judge(wrong.as_bytes()), Judgement::Bad(_)), "{wrong}");
    }
    assert!(matches!(judge(&[b"HTTP/1.1 200 ".as_slice(), &[b'x'; 2000]].concat()), Judgement::Bad(_)));
}

#[test]
fn redis() {
    on_runtime(async {
        for (answer, expected) in [
            (b"+PONG\r\n".as_slice(), Outcome::Good),
            (b"-NOAUTH Authentication required.\r\n", Outcome::Good),
            (
                b"-LOADING Redis is loading the dataset in memory\r\n",
                bad("it answered an error: LOADING Redis is loading the dataset in memory"),
            ),
            (b"$4\r\nPONG\r\n", bad("it answered `$4`, not PONG")),
        ] {
            let kind = CheckKind::Redis;
            let outcome = outcome(server(b"PING\r\n", answer).await, kind).await;
            match (&outcome, &expected) {
                // It may be judged by its first piece.
                (Outcome::Bad(why), Outcome::Bad(_)) if why.ends_with("not PONG") => {}
                _ => assert_eq!(outcome, expected),
            }
        }
    });
}

/// An ErrorResponse of PostgreSQL.
fn error(state: &str, message: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{state}\0M{message}\0\0");
    [b"E", &(fields.len() as u32 + 4).to_be_bytes()[..], fields.as_bytes()].concat()
}

#[test]
fn postgres_is_ready_if_it_answers_as_one_that_serves() {
    on_runtime(async {
        let asks_for_a_password = b"R\0\0\0\x0c\0\0\0\x05abcd";
        assert_eq!(outcome(server(b"netd\0\0", asks_for_a_password).await, postgres()).await, Outcome::Good);
    });
    let judge = |received: &[u8]| judge(&postgres(), received, false);
    assert_eq!(judge(&error("28000", "no pg_hba.conf entry for host")), Judgement::Good);
    let starting = error("57P03", "the database system is starting up");
    assert_eq!(
        judge(&starting),
        Judgement::Bad("it refuses connections: the database system is starting up".to_owned())
    );
    assert!(matches!(judge(&error("53300", "sorry, too many clients already")), Judgement::Bad(_)));
    assert_eq!(judge(&starting[..20]), Judgement::More);
    assert!(matches!(judge(b"HTTP/1.1 400"), Judgement::Bad(_)));
    assert!(matches!(judge(b"E\xff\xff\xff\xff"), Judgement::Bad(_)));
}

#[test]
fn the_startup_message_has_its_length() {
    let message = opening(&postgres(), &"127.0.0.1:5432".parse().unwrap());
    assert_eq!(u32::from_be_bytes(message[..4].try_into().unwrap()) as usize, message.len());
    assert_eq!(message[4..8], [0, 3, 0, 0]);
    assert_eq!(message[8..], *b"user\0netd\0database\0postgres\0application_name\0netd\0\0");
}

/// Against the server that netd's own admin API is built with.
#[test]
fn grpc() {
    on_runtime(async {
        let (reporter, service) = tonic_health::server::health_reporter();
        let name = "a.rather.long.package.name.".repeat(5) + "Service";
        reporter.set_service_status(name.clone(), tonic_health::ServingStatus::NotServing).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Inet(listener.local_addr().unwrap());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        let ask = |service: &str| outcome(address.clone(), CheckKind::Grpc { service: service.into() });
        assert_eq!(ask("").await, Outcome::Good);
        assert_eq!(ask(&name).await, bad("it answered NOT_SERVING"));
        reporter.set_service_status(name.clone(), tonic_health::ServingStatus::Serving).await;
        assert_eq!(ask(&name).await, Outcome::Good);
        assert_eq!(ask("nobody").await, bad("it answered an error: it knows no such service, or no health check"));
        let http = server(b"PRI * HTTP/2.0", b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let Outcome::Bad(why) = outcome(http, CheckKind::Grpc { service: "".into() }).await else { panic!("bad") };
        assert!(why.ends_with("which is not HTTP/2"), "{why}");
    });
}

fn pool(send_proxy: ProxyVersions, source: Source, tcp: config::Tcp) -> Pool {
    Pool {
        name: "back".to_owned(),
        endpoints: Vec::new(),
        policy: config::Policy::default(),
        slow_start: None,
        endpoint_max_connections: None,
        connect_timeout: Duration::from_secs(5),
        retries: 2,
        limits: config::PoolLimits::default(),
        health: PoolHealth::default(),
        send_proxy: SendProxy { version: send_proxy, tlvs: vec![config::ProxyTlv::Crc32c] },
        source,
        tcp,
    }
}

/// A server that tells whom it met, and all that came until the end.
async fn telling() -> (Address, tokio::sync::mpsc::UnboundedReceiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Inet(listener.local_addr().unwrap());
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, peer)) = listener.accept().await {
            let mut read = Vec::new();
            // An end, not a reset: what was sent is worth reading.
            stream.read_to_end(&mut read).await.unwrap();
            let _ = tell.send((peer.ip().to_string(), read));
        }
    });
    (address, told)
}

#[test]
fn a_header_of_netds_own_goes_first() {
    on_runtime(async {
        let (address, mut told) = telling().await;
        for (version, header) in [
            (ProxyVersions::V1, b"PROXY UNKNOWN\r\n".as_slice()),
            (ProxyVersions::V2, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"),
        ] {
            let way = Way::of(&pool(version, Source::Auto, config::Tcp::default()));
            for (kind, behind) in [(tcp("", ""), b"".as_slice()), (tcp("hello", ""), b"hello")] {
                let question = Question { way: way.clone(), ..question(address.clone(), kind) };
                assert_eq!(SystemProber.ask(question).await.outcome, Outcome::Good);
                assert_eq!(told.recv().await.unwrap().1, [header, behind].concat());
            }
        }
    });
}

#[test]
fn every_kind_of_check_comes_behind_the_header() {
    on_runtime(async {
        let (server, mut told) = telling().await;
        let way = Way::of(&pool(ProxyVersions::V2, Source::Auto, config::Tcp::default()));
        for kind in [http(), CheckKind::Grpc { service: "".into() }, CheckKind::Redis, postgres()] {
            let mut question = Question { way: way.clone(), ..question(server.clone(), kind.clone()) };
            // The server answers nothing.
            Arc::get_mut(&mut question.check).unwrap().timeout = Duration::from_millis(50);
            assert!(matches!(SystemProber.ask(question).await.outcome, Outcome::TimedOut(_)));
            let (_, read) = told.recv().await.unwrap();
            assert_eq!(read, [&*way.preface, &opening(&kind, &server)].concat(), "{}", read.escape_ascii());
        }
    });
}

#[test]
fn it_connects_from_where_the_pool_does() {
    on_runtime(async {
        let (address, mut told) = telling().await;
        let mut ask = async |source: Source, tcp: config::Tcp| {
            let way = Way::of(&pool(ProxyVersions::V1, source, tcp));
            let answer = SystemProber.ask(Question { way, ..question(address.clone(), self::tcp("", "")) }).await;
            if answer.outcome != Outcome::Good {
                return Err(answer.outcome);
            }
            Ok(told.recv().await.unwrap().0)
        };
        let fixed = Source::Address("127.0.0.9".parse().unwrap());
        assert_eq!(ask(fixed, config::Tcp::default()).await, Ok("127.0.0.9".to_owned()));
        assert_eq!(ask(Source::Client, config::Tcp::default()).await, Ok("127.0.0.1".to_owned()), "no client");
        let options = config::Tcp { interface: Some("no-such".to_owned()), ..config::Tcp::default() };
        match ask(Source::Auto, options).await {
            Err(Outcome::NotAsked(why)) => assert!(why.starts_with("tcp.interface: "), "{why}"),
            other => panic!("{other:?}"),
        }
    });
}

/// With fast open a connect succeeds before a packet was sent.
#[test]
fn fast_open_proves_nothing() {
    on_runtime(async {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let options = config::Tcp { fast_open: Some(1), ..config::Tcp::default() };
        let way = Way::of(&pool(ProxyVersions::Off, Source::Auto, options));
        let answer = SystemProber.ask(Question { way, ..question(Address::Inet(nobody), tcp("", "")) }).await;
        assert_eq!(answer.outcome, bad("connecting: Connection refused"));
    });
}

fn kinds() -> impl Strategy<Value = CheckKind> {
    let grpc = CheckKind::Grpc { service: "".into() };
    proptest::sample::select(vec![tcp("", "x"), http(), grpc, CheckKind::Redis, postgres()])
}

proptest! {
    /// No answer makes a judge fall over, and none is taken for more than it is:
    /// a verdict stands when more comes behind it.
    #[test]
    fn any_answer_is_judged(kind in kinds(), head in 0..6_usize, tail in proptest::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
        let heads: [&[u8]; 6] = [b"", b"HTTP/1.1 2", b"+PO", b"E\0\0\0\x20", b"\0\0\0\x04\0\0\0\0\0", b"\0\0\x07\x00\x01\0\0\0\x01"];
        let received = [heads[head], &tail].concat();
        let part = &received[..cut.index(received.len() + 1)];
        if judge(&kind, part, false) == Judgement::Good {
            prop_assert_eq!(judge(&kind, &received, true), Judgement::Good);
        }
        let _ = judge(&kind, &received, true);
    }
}
