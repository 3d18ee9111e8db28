//! Which endpoints are used, as checks and connections find them.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::support::{
    Client, Daemon, End, Origin, Setup,
    clock::{now, pause},
    eventually, ports,
};

/// A server that says its name, and that can be gone for a while.
struct Flapping {
    address: SocketAddr,
    name: &'static str,
    served: Arc<AtomicUsize>,
    leaves: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flapping {
    fn saying(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let mut flapping = Self { address, name, served: Arc::default(), leaves: Arc::default(), thread: None };
        flapping.serve(listener);
        flapping
    }

    fn serve(&mut self, listener: TcpListener) {
        let (name, served, leaves) = (self.name, self.served.clone(), self.leaves.clone());
        self.thread = Some(thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                if leaves.load(Relaxed) {
                    return;
                }
                // A health check leaves without having listened.
                if stream.write_all(name.as_bytes()).is_ok() {
                    served.fetch_add(1, Relaxed);
                }
            }
        }));
    }

    /// Its port refuses from now on.
    fn leave(&mut self) {
        self.leaves.store(true, Relaxed);
        // It may sit in accept.
        drop(std::net::TcpStream::connect(self.address));
        self.thread.take().expect("it serves").join().expect("no panic");
    }

    fn come_back(&mut self) {
        self.leaves.store(false, Relaxed);
        self.serve(TcpListener::bind(self.address).expect("its port again"));
    }

    fn served(&self) -> usize {
        self.served.load(Relaxed)
    }
}

fn daemon(endpoints: &[SocketAddr], keys: &str) -> Daemon {
    let endpoints: Vec<String> = endpoints.iter().map(|each| format!("\"{each}\"")).collect();
    Setup::config(&format!(
        r#"
        [workers]
        count = 2
        [[listener]]
        name = "front"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "back"
        [[pool]]
        name = "back"
        endpoints = [{}]
        {keys}
        "#,
        endpoints.join(", ")
    ))
    .start()
}

/// The name of who served; a client error is a failed test.
fn served_by(daemon: &Daemon) -> String {
    let (text, end) = Client::connect(daemon.address("front")).rest();
    assert_eq!(end, End::Eof);
    assert!(!text.is_empty(), "somebody serves");
    String::from_utf8(text).expect("a name")
}

fn standing(daemon: &Daemon, index: usize) -> String {
    daemon.endpoint("back", index)["health"]["standing"].as_str().unwrap_or_default().to_owned()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, || condition().then_some(()));
}

/// Has clients come until it holds; none of them sees an error.
fn under_load(daemon: &Daemon, what: &str, condition: impl Fn() -> bool) {
    until(what, || {
        (0..5).for_each(|_| drop(served_by(daemon)));
        condition()
    });
}

const QUICK: &str = "[pool.health]\ninterval = \"100ms\"\nfast_interval = \"100ms\"\nfall = 2\nrise = 2";

#[test]
fn an_endpoint_killed_under_load_costs_no_client_error() {
    let (mut a, b) = (Flapping::saying("a"), Origin::saying("b"));
    let daemon = daemon(&[a.address, b.address], QUICK);
    under_load(&daemon, "both are healthy", || standing(&daemon, 0) == "healthy" && standing(&daemon, 1) == "healthy");
    a.leave();
    under_load(&daemon, "it is found out", || standing(&daemon, 0) == "unhealthy");
    until("it rests", || daemon.endpoint("back", 0)["weight"] == 0);
    let failures =
        || daemon.metrics().one("netd_endpoint_connect_failures_total", &[("endpoint", &a.address.to_string())]);
    let before = failures();
    (0..20).for_each(|_| assert_eq!(served_by(&daemon), "b"));
    assert_eq!(failures(), before, "nobody tries it");
    let view = daemon.endpoint("back", 0);
    assert_eq!((&view["state"], &view["weight"]), (&"unhealthy".into(), &0.into()));
    let why = daemon.ask(&["why", &format!("endpoint/back/{}", a.address)]).stdout;
    assert!(why.contains("tcp checks in a row failed, the last: connecting: Connection refused"), "{why}");
    let pools = daemon.ask(&["pools"]).stdout;
    assert!(pools.contains("Health:") && pools.contains("unhealthy"), "{pools}");
    daemon.logs("is unhealthy: 2 tcp checks in a row failed");

    a.come_back();
    under_load(&daemon, "it is healthy again", || standing(&daemon, 0) == "healthy");
    under_load(&daemon, "it serves again", || served_by(&daemon) == "a");
}

#[test]
fn checks_on_demand_tell_and_change_nothing() {
    let (mut a, b) = (Flapping::saying("a"), Origin::saying("b"));
    let daemon = daemon(&[a.address, b.address], "[pool.health]\ninterval = \"1h\"\nexpect = \"a\"\nsend = \"\"");
    until("both were asked", || standing(&daemon, 0) == "healthy" && standing(&daemon, 1) == "unhealthy");
    let all = daemon.netctl(&["check", "back"]);
    all.ended_with(7).said(&format!("endpoint/back/{}  tcp", a.address)).said("it answered `b`");
    a.leave();
    let one = daemon.netctl(&["check", &format!("back/{}", a.address), "-o", "json"]);
    one.ended_with(7).said("\"outcome\":\"bad\"").said("Connection refused");
    assert_eq!(standing(&daemon, 0), "healthy", "it is what it was");
    daemon.netctl(&["check", "bakc"]).ended_with(1).complained("did you mean `back`?");
    a.come_back();
    daemon.netctl(&["check", &format!("back/{}", a.address)]).ended_with(0).said("good ");
}

#[test]
fn a_flapping_endpoint_is_ejected_and_comes_back() {
    let (mut a, b) = (Flapping::saying("a"), Origin::saying("b"));
    let daemon = daemon(&[a.address, b.address], "[pool.outlier]\nconsecutive = 3\nbase = \"1s\"");
    for round in 1..=2 {
        a.leave();
        under_load(&daemon, "it is ejected", || daemon.endpoint("back", 0)["health"]["ejections"] == round);
        a.come_back();
        let served = a.served();
        under_load(&daemon, "it serves again", || a.served() > served);
        assert_eq!(daemon.endpoint("back", 0)["state"], "up");
    }
    let ejections = daemon.metrics().one("netd_endpoint_ejections_total", &[("endpoint", &a.address.to_string())]);
    assert_eq!(ejections, 2.0);
    daemon.logs("is no longer ejected");
}

#[test]
fn an_endpoint_that_resets_early_is_ejected() {
    let (a, b) = (Origin::resetting_at_once(), Origin::saying("b"));
    let daemon = daemon(&[a.address, b.address], "[pool.outlier]\nconsecutive = 3\nbase = \"1m\"");
    until("it is ejected", || {
        (0..5).for_each(|_| drop(Client::what_comes(daemon.address("front"))));
        daemon.endpoint("back", 0)["state"] == "ejected" && daemon.endpoint("back", 0)["weight"] == 0
    });
    (0..20).for_each(|_| assert_eq!(served_by(&daemon), "b"));
    let resets = daemon.metrics().one("netd_endpoint_early_resets_total", &[("endpoint", &a.address.to_string())]);
    assert!(resets >= 3.0, "{resets}");
}

/// The servers are listeners of the same netd.
#[test]
fn http_by_status_and_a_panic_that_uses_all() {
    let config = |status: u16, port: u16| {
        format!(
            r#"
            [[listener]]
            name = "front"
            address = "127.0.0.1:0"
            protocol = "tcp"
            pool = "back"
            [[listener]]
            name = "app"
            address = "127.0.0.1:{port}"
            protocol = "respond"
            text = "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n"
            [[pool]]
            name = "back"
            endpoints = ["127.0.0.1:{port}"]
            [pool.health]
            kind = "http"
            path = "/healthz"
            interval = "100ms"
            fast_interval = "100ms"
            fall = 1
            rise = 1
            "#
        )
    };
    let port = ports::free().port();
    let daemon = Setup::config(&config(200, port)).start();
    until("it is healthy", || standing(&daemon, 0) == "healthy");
    daemon.rewrite(&config(503, port));
    daemon.ask(&["reload"]);
    until("it is unhealthy", || standing(&daemon, 0) == "unhealthy");
    daemon.logs("it answered status 503, and good is 200-299");
    until("it panics", || daemon.metrics().one("netd_pool_panic", &[("pool", "back")]) == 1.0);
    until("its only endpoint is used", || daemon.endpoint("back", 0)["weight"] == 1);
    assert!(served_by(&daemon).contains("503"));
    daemon.logs("pool `back` uses all endpoints, healthy or not");
}

/// 10,000 endpoints, which are addresses of one server: each is asked once an
/// interval by both workers' netd, and the admin plane answers meanwhile.
#[test]
fn ten_thousand_endpoints() {
    let server = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = server.local_addr().expect("its address").port();
    let asked = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&asked);
    thread::spawn(move || {
        while server.accept().is_ok() {
            counted.fetch_add(1, Relaxed);
        }
    });
    let pools: String = (0..10)
        .map(|pool| {
            let address = |n: u32| format!("\"127.{}.{}.{}:{port}\"", 1 + pool, n / 250, 1 + n % 250);
            let endpoints = (0..1000).map(address).collect::<Vec<_>>().join(", ");
            format!("[[pool]]\nname = \"p{pool}\"\nendpoints = [{endpoints}]\n[pool.health]\ninterval = \"10s\"\n")
        })
        .collect();
    let daemon = Setup::config(&format!("[workers]\ncount = 2\n{pools}")).start();
    let mut slowest = Duration::ZERO;
    let mut ask = || {
        let begun = now();
        assert_eq!(daemon.get("/healthz").status, 200);
        slowest = slowest.max(now() - begun);
        pause(Duration::from_millis(50));
    };
    let begun = now();
    until("each was asked once", || {
        ask();
        asked.load(Relaxed) >= 10_000
    });
    let first = now() - begun;
    let (begun, before) = (now(), asked.load(Relaxed));
    while now() - begun < Duration::from_secs(10) {
        ask();
    }
    let (seconds, more) = ((now() - begun).as_secs_f64(), asked.load(Relaxed) - before);
    eprintln!(
        "all asked after {first:.1?}; then {more} checks in {seconds:.1} s; slowest answer of the admin plane {slowest:?}"
    );
    // Right after its first answer an endpoint waits for half an interval in the
    // mean, so the first interval may hold more than one check each.
    assert!((8_000..=20_000).contains(&more), "{more} checks in {seconds} s");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let metrics = daemon.metrics();
    let results = |result: &str| metrics.sum("netd_endpoint_probes_total", &[("result", result)]);
    assert!(results("good") >= 10_000.0);
    assert_eq!(results("bad") + results("timeout"), 0.0);
}
