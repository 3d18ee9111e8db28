//! Limits and protection, with the real binaries and two workers.

mod explained;

use std::{
    io::{ErrorKind, Read, Write},
    time::Duration,
};

use crate::support::{Client, Daemon, End, Origin, Setup, child, clock::pause, eventually};

fn echo(keys: &str) -> Daemon {
    Setup::config(&format!("[[listener]]\nname = \"echo\"\naddress = \"127.0.0.1:0\"\nprotocol = \"echo\"\n{keys}\n"))
        .args(&["--workers", "2"])
        .start()
}

fn relay(origins: &[&Origin], listener: &str, pool: &str) -> Daemon {
    let endpoints: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.address)).collect();
    Setup::config(&format!(
        "[[listener]]\nname = \"front\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"back\"\n{listener}\n\
         [[pool]]\nname = \"back\"\nendpoints = [{}]\n{pool}\n",
        endpoints.join(", ")
    ))
    .args(&["--workers", "2"])
    .start()
}

/// Connects so many, one after the other; those that are served are kept.
fn served(daemon: &Daemon, listener: &str, count: usize) -> Vec<Client> {
    let address = daemon.address(listener);
    // A reset may come before connect(2) has returned.
    let mut clients: Vec<Client> = (0..count).filter_map(|_| Client::try_connect(address).ok()).collect();
    clients.retain_mut(|client| {
        client.stream.write_all(b"?").is_ok() && client.stream.read(&mut [0; 1]).is_ok_and(|n| n == 1)
    });
    clients
}

fn refused(daemon: &Daemon, listener: &str, cause: &str) -> f64 {
    daemon.metrics().one("netd_listener_refused_total", &[("listener", listener), ("cause", cause)])
}

#[test]
fn a_listener_takes_exactly_as_many_as_it_may() {
    let daemon = echo("max_connections = 7");
    for round in 1..=3 {
        let clients = served(&daemon, "echo", 40);
        assert_eq!(clients.len(), 7, "round {round}");
        let view = daemon.listener("echo");
        assert_eq!((&view["limits"][0]["used"], &view["limits"][0]["limit"]), (&7.into(), &"7".into()));
        daemon.ask(&["listeners"]).said("listener/echo: max_connections 7 of 7 (100%); refused");
        daemon.ask(&["why", "listener/echo"]).said("limits: max_connections 7 of 7; refused since start:");
        drop(clients);
        daemon.becomes_idle();
    }
    assert_eq!(refused(&daemon, "echo", "listener-full"), 99.0);
    assert_eq!(daemon.metrics().one("netd_listener_connections_accepted_total", &[("listener", "echo")]), 21.0);
}

#[test]
fn a_process_and_a_source_take_exactly_as_many_as_they_may() {
    let daemon = Setup::config(
        r#"
        [limits]
        max_connections = 9
        [[listener]]
        name = "a"
        address = "127.0.0.1:0"
        protocol = "echo"
        max_connections_per_source = 6
        [[listener]]
        name = "b"
        address = "127.0.0.1:0"
        protocol = "echo"
        "#,
    )
    .args(&["--workers", "2"])
    .start();
    let of_a = served(&daemon, "a", 20);
    assert_eq!(of_a.len(), 6);
    let of_b = served(&daemon, "b", 20);
    assert_eq!(of_b.len(), 3);
    assert_eq!(refused(&daemon, "a", "source-full"), 14.0);
    assert_eq!(refused(&daemon, "b", "process-full"), 17.0);
    daemon.ask(&["status"]).said("max_connections 9 of 9");
}

#[test]
fn a_limit_that_comes_with_a_reload_counts_what_is_open() {
    let daemon = echo("");
    let clients = served(&daemon, "echo", 12);
    assert_eq!(clients.len(), 12);
    daemon.rewrite(
        "[[listener]]\nname = \"echo\"\naddress = \"127.0.0.1:0\"\nprotocol = \"echo\"\nmax_connections = 10\n",
    );
    daemon.ask(&["reload"]);
    assert_eq!(served(&daemon, "echo", 5).len(), 0);
    drop(clients);
    daemon.becomes_idle();
    assert_eq!(served(&daemon, "echo", 15).len(), 10);
}

#[test]
fn a_source_that_floods_does_not_hurt_another() {
    let daemon = echo("rate = \"1000/h\"\nrate_per_source = \"20/h\"");
    let address = daemon.address("echo");
    let flood = served(&daemon, "echo", 300);
    assert_eq!(flood.len(), 20);
    // Another source of the same machine.
    let mut others = 0;
    for _ in 0..20 {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 2], 0)).into()).expect("another address");
        socket.connect(&address.into()).expect("a connection");
        let mut client = Client::adopt(socket.into()).expect("an open socket");
        client.echo(b"in peace");
        others += 1;
    }
    assert_eq!(others, 20);
    assert_eq!(refused(&daemon, "echo", "source-rate"), 280.0);
    let events = eventually("it is told", || {
        let log = daemon.log();
        log.contains("has refused").then_some(log)
    });
    assert!(events.matches("has refused").count() <= 2, "a few lines, and not one a connection: {events}");
}

#[test]
fn lists_and_texts() {
    let setup = Setup::config(
        r#"
        [[listener]]
        name = "echo"
        address = "127.0.0.1:0"
        protocol = "echo"
        deny_file = "DIR/deny"
        refuse = { denied = { text = "go away\n" } }
        "#,
    )
    .args(&["--workers", "2"]);
    let deny = setup.path("deny");
    std::fs::write(&deny, "# nobody\n10.0.0.0/8\n").expect("a file");
    let daemon = setup.start();
    daemon.connect("echo").echo(b"in");
    std::fs::write(&deny, "10.0.0.0/8\n127.0.0.0/9\n").expect("a file");
    daemon.ask(&["plan"]).said("deny: 0 listed, 1 from");
    daemon.ask(&["reload"]);
    assert_eq!(daemon.connect("echo").rest(), (b"go away\n".to_vec(), End::Eof));
    std::fs::write(&deny, "10.0.0.0/8\n127.0.0.1/9\n").expect("a file");
    let failed = daemon.netctl(&["reload"]);
    assert!(failed.stderr.contains(&format!("{}:2: `127.0.0.1/9` has bits set", deny.display())), "{}", failed.story());
    // 100,000 networks.
    let many: String =
        (0..100_000u32).map(|n| format!("{}\n", std::net::Ipv4Addr::from(0x0b00_0000 + 16 * n))).collect();
    std::fs::write(&deny, many).expect("a file");
    daemon.ask(&["reload"]);
    daemon.connect("echo").echo(b"in again");
    daemon.ask(&["listeners"]).said("deny 0 listed, 100000 from");
}

#[test]
fn who_waits_and_has_ended_its_direction_is_served_and_who_resets_is_not() {
    let origin = Origin::serving(|mut stream| {
        let _ = stream.write_all(b"220 hello");
        let _ = stream.read(&mut [0; 1]);
    });
    let daemon = relay(&[&origin], "", "max_connections = 1\nqueue = { size = 2, timeout = \"60s\" }");
    let address = daemon.address("front");
    let mut first = Client::connect(address);
    assert_eq!(first.receive(9), b"220 hello");
    let waiting = |count: f64| {
        eventually("so many wait", || {
            (daemon.metrics().one("netd_pool_waiting", &[("pool", "back")]) == count).then_some(())
        });
    };
    let mut reader = Client::connect(address);
    reader.finish();
    waiting(1.0);
    let gone = Client::connect(address);
    waiting(2.0);
    gone.reset();
    waiting(1.0);
    first.finish();
    assert_eq!(reader.rest(), (b"220 hello".to_vec(), End::Eof));
}

#[test]
fn a_full_pool_lets_wait_over_both_workers_and_times_out() {
    let origin = Origin::echoing();
    let daemon = relay(&[&origin], "", "max_connections = 4\nqueue = { size = 30, timeout = \"60s\" }");
    let address = daemon.address("front");
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(address)).collect();
    clients.iter_mut().for_each(|client| client.echo(b"first"));
    for number in 1..=30 {
        let mut client = Client::connect(address);
        client.send(b"!");
        clients.push(client);
        eventually("it stands in the line", || {
            (daemon.metrics().one("netd_pool_waiting", &[("pool", "back")]) == f64::from(number)).then_some(())
        });
    }
    daemon.ask(&["pools"]).said("max_connections 4 of 4 (100%), queue 30 of 30, each for 1m");
    // The line is full.
    assert!(served(&daemon, "front", 1).is_empty());
    // One leaves, the next is served, first come, first served.
    let mut clients = std::collections::VecDeque::from(clients);
    for _ in 0..4 {
        clients.pop_front();
    }
    let mut order = Vec::new();
    while let Some(mut client) = clients.pop_front() {
        assert_eq!(client.receive(1), b"!");
        order.push(client);
        if order.len() == 4 {
            // Four are open; the fifth is not served before one leaves.
            if let Some(next) = clients.front_mut() {
                next.stream.set_nonblocking(true).expect("an open socket");
                let early = next.stream.read(&mut [0; 1]);
                assert!(early.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
                next.stream.set_nonblocking(false).expect("an open socket");
            }
            order.remove(0);
        }
    }
    drop(order);
    daemon.becomes_idle();
    let metrics = daemon.metrics();
    assert_eq!(metrics.one("netd_pool_queued_total", &[("pool", "back")]), 30.0);
    assert_eq!(metrics.one("netd_pool_full_total", &[("pool", "back")]), 1.0);
    assert_eq!(metrics.one("netd_pool_waiting", &[("pool", "back")]), 0.0);
}

#[test]
fn times_end_connections() {
    let origin = Origin::echoing();
    let keys = "first_byte_timeout = \"400ms\"\nmax_lifetime = \"2s\"\nhalf_closed_timeout = \"400ms\"";
    let daemon = relay(&[&origin], keys, "");
    let mut silent = daemon.connect("front");
    let mut busy = daemon.connect("front");
    busy.echo(b"busy");
    assert_eq!(silent.rest().0, b"");
    let closed = |cause: &str| {
        let labels = [("listener", "front"), ("by", "netd"), ("phase", "open"), ("cause", cause)];
        daemon.metrics().one("netd_listener_connections_closed_total", &labels)
    };
    assert_eq!((closed("first-byte"), closed("lifetime")), (1.0, 0.0));
    eventually("its life ends", || busy.try_echo(b"busy").is_err().then_some(()));
    assert_eq!((closed("first-byte"), closed("lifetime"), closed("half-closed")), (1.0, 1.0, 0.0));
}

#[test]
fn a_flood_of_idle_connections_is_shed_and_the_admin_api_answers() {
    let daemon = Setup::config(
        r#"
        [limits]
        overload = "shed"
        [[listener]]
        name = "echo"
        address = "127.0.0.1:0"
        protocol = "echo"
        "#,
    )
    .args(&["--workers", "2"])
    .surroundings(|command| child::limit_files(command, 64))
    .start();
    let mut flood = served(&daemon, "echo", 150);
    assert!(!flood.is_empty() && flood.len() < 64, "{}", flood.len());
    for _ in 0..3 {
        let status = daemon.status();
        assert!(status["overload"].as_str().is_some_and(|text| text.contains("file descriptors")), "{status}");
        assert_eq!(daemon.get("/readyz").status, 200);
        daemon.ask(&["listeners"]);
    }
    assert_eq!(daemon.listener("echo")["state"], "accepting");
    assert!(refused(&daemon, "echo", "overload") > 80.0);
    daemon.logs("overload: refusing new connections");
    // What stays idle is closed in the end, what is busy goes on.
    let mut busy = flood.pop().expect("one");
    eventually("idle ones are closed", || {
        busy.echo(b"busy");
        let closed = daemon.metrics().one(
            "netd_listener_connections_closed_total",
            &[("listener", "echo"), ("by", "netd"), ("cause", "overload")],
        );
        pause(Duration::from_millis(20));
        (closed >= 5.0).then_some(())
    });
    busy.echo(b"still served");
    eventually("clients are let in again", || (!served(&daemon, "echo", 1).is_empty()).then_some(()));
    drop(flood);
    drop(busy);
    eventually("it is over", || (daemon.metrics().one("netd_overload_level", &[]) == 0.0).then_some(()));
}
