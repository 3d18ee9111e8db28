//! IPv6, both families at once, Unix-domain sockets, and the embedded default.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    thread,
};

use nix::sched::{CloneFlags, setns};

use crate::support::{Client, End, Finished, PATIENCE, Setup, child, eventually, is_root};

fn has_ipv6() -> bool {
    let has = TcpListener::bind("[::1]:0").is_ok();
    if !has {
        eprintln!("skipped: this machine has no IPv6");
    }
    has
}

#[test]
fn ipv6_only_by_default_and_both_families_when_asked() {
    if !has_ipv6() {
        return;
    }
    let daemon = Setup::config(
        r#"
        [[listener]]
        name = "six"
        address = "[::]:0"
        protocol = "echo"
        [[listener]]
        name = "both"
        address = "[::]:0"
        v6only = false
        protocol = "echo"
        "#,
    )
    .start();
    let [six, both] = ["six", "both"].map(|name| daemon.address(name).port());
    let loopback =
        |port| [SocketAddr::from(([0u16, 0, 0, 0, 0, 0, 0, 1], port)), SocketAddr::from(([127, 0, 0, 1], port))];
    for address in loopback(both) {
        Client::connect(address).echo(b"both");
    }
    // Other tests have listeners on 127.0.0.1, perhaps with this very port.
    let four = SocketAddr::from(([127, 77, 88, 99], six));
    let [six, _] = loopback(six);
    let mut client = Client::connect(six);
    client.echo(b"six");
    assert!(TcpStream::connect(four).is_err(), "an IPv6-only listener takes IPv4");
    let source = client.local().to_string();
    assert!(daemon.connections().iter().any(|each| each["source"] == source.as_str()));
}

#[test]
fn an_ipv6_upstream() {
    if !has_ipv6() {
        return;
    }
    let upstream = TcpListener::bind("[::1]:0").expect("a free port");
    let address = upstream.local_addr().expect("a bound socket").to_string();
    let daemon = Setup::flags(&["--listen", "[::1]:0", "--upstream", &address]).start();
    let mut client = daemon.connect("listen-1");
    let (mut stream, _) = upstream.accept().expect("a connection");
    stream.write_all(b"six").expect("an open connection");
    drop(stream);
    assert_eq!(client.rest(), (b"six".to_vec(), End::Eof));
}

#[test]
fn unix_domain_sockets_on_both_sides() {
    let mut daemon = Setup::config(
        r#"
        [[listener]]
        name = "front"
        address = "unix:DIR/front.sock"
        mode = "0o620"
        protocol = "tcp"
        pool = "back"
        [[listener]]
        name = "back"
        address = "unix:DIR/back.sock"
        protocol = "echo"
        [[pool]]
        name = "back"
        endpoints = ["unix:DIR/back.sock"]
        "#,
    )
    .start();
    let [front, back] = ["front.sock", "back.sock"].map(|name| daemon.path(name));
    let mode = |path| fs::metadata(path).expect("a socket file").permissions().mode() & 0o7777;
    assert_eq!((mode(&front), mode(&back)), (0o620, 0o666));

    let clients: Vec<_> = (0..20)
        .map(|_| {
            let front = front.clone();
            thread::spawn(move || {
                let mut client = UnixStream::connect(front).expect("a listener");
                client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                let text = vec![b'u'; 200_000];
                let mut reader = client.try_clone().expect("a free file descriptor");
                let reading = thread::spawn(move || {
                    let mut bytes = Vec::new();
                    reader.read_to_end(&mut bytes).map(|_| bytes)
                });
                client.write_all(&text).expect("an open connection");
                client.shutdown(std::net::Shutdown::Write).expect("an open connection");
                assert!(reading.join().expect("no panic").expect("all of the echo") == text);
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("an echo"));

    daemon.becomes_idle();
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(daemon.wait().success());
    assert!(!front.exists() && !back.exists(), "the socket files are left behind");
}

/// Its ports are fixed, so it gets a network of its own, and a /run.
#[test]
fn with_no_file_and_no_flags_the_embedded_default_serves() {
    if !is_root("the embedded default, in a network of its own,") {
        return;
    }
    let daemon = Setup::bare(&[]).surroundings(child::alone).spawn();
    daemon.logs("netctl status");
    let root = format!("/proc/{}/root/run/netd/admin.sock", daemon.process.0);
    let netctl = |args: &[&str]| {
        let admin = format!("unix:{root}");
        Finished::run(std::process::Command::new(env!("CARGO_BIN_EXE_netctl")).args(["--admin", &admin]).args(args))
    };
    eventually("the admin API answers", || (netctl(&["status"]).code() == Some(0)).then_some(()));
    for told in ["127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8082", "admin.sock", "127.0.0.1:9464"] {
        assert!(daemon.log().contains(told), "{told} is not told at the start");
    }

    let inside = fs::File::open(format!("/proc/{}/ns/net", daemon.process.0)).expect("a network");
    let answers = thread::spawn(move || {
        setns(inside, CloneFlags::CLONE_NEWNET).expect("root may enter it");
        let connect = |port: u16| Client::connect(SocketAddr::from(([127, 0, 0, 1], port))).rest();
        [8080, 8080, 8080, 8080, 8081, 8082].map(connect)
    });
    for answer in answers.join().expect("no panic") {
        assert_eq!(answer, (b"Hello from daemon\n".to_vec(), End::Eof));
    }
    let pools = netctl(&["pools", "-o", "json"]).ended_with(0).json();
    let totals: Vec<_> = pools["pools"][0]["endpoints"]
        .as_array()
        .expect("endpoints")
        .iter()
        .map(|e| e["figures"]["total"].clone())
        .collect();
    assert_eq!(totals.iter().filter_map(serde_json::Value::as_u64).sum::<u64>(), 4, "{pools}");
}
