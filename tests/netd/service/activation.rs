//! Sockets that were there before netd (sd_listen_fds(3)).

use std::{
    io::Write,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
};

use nix::sys::signal::Signal;

use crate::support::{Client, Daemon, End, PATIENCE, Setup, child};

/// Starts netd with these sockets, as systemd would. The shell knows the
/// process id that netd will have: exec keeps it.
fn start(config: &str, sockets: Vec<OwnedFd>, names: &str) -> Daemon {
    with_sockets(Setup::config(config), sockets, names).start()
}

/// As above, not started yet.
pub(super) fn with_sockets(setup: Setup, sockets: Vec<OwnedFd>, names: &str) -> Setup {
    let count = sockets.len().to_string();
    setup
        .env("LISTEN_FDS", &count)
        .env("LISTEN_FDNAMES", names)
        .through("/bin/sh", &["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""])
        .surroundings(|command| child::pass_from_3(command, sockets))
}

fn config(address: &str) -> String {
    format!(
        r#"
        [workers]
        count = 2
        [[listener]]
        name = "web"
        address = "{address}"
        protocol = "echo"
        [[listener]]
        name = "own"
        address = "127.0.0.1:0"
        protocol = "echo"
        "#
    )
}

#[test]
fn a_socket_is_matched_by_name_and_its_queue_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    // Connected before there was a netd.
    let mut early = Client::connect(address);
    early.send(b"early");
    let kept = listener.try_clone().expect("a free file descriptor");
    let mut daemon = start(&config("127.0.0.1:1"), vec![listener.into()], "web");
    assert_eq!(early.receive(5), b"early");
    Client::connect(address).echo(b"late");
    daemon.connect("own").echo(b"own");
    let web = daemon.listener("web");
    assert_eq!((&web["origin"], &web["bound"]), (&"systemd".into(), &address.to_string().into()));
    assert_eq!(daemon.listener("own")["origin"], "bound");

    early.finish();
    assert_eq!(early.rest().1, End::Eof);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
    // systemd's socket lives on: who connects now waits for the next netd.
    let mut next = Client::connect(address);
    next.send(b"for the next one");
    kept.set_nonblocking(true).expect("a socket");
    let (stream, _) = kept.accept().expect("the queue lives on");
    let mut taken = Client::adopt(stream).expect("a connection");
    assert_eq!(taken.receive(16), b"for the next one");
}

#[test]
fn a_socket_is_matched_by_address_too() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let daemon = start(&config(&address.to_string()), vec![listener.into()], "something.socket");
    assert_eq!(daemon.listener("web")["origin"], "systemd");
    Client::connect(address).echo(b"by address");
}

#[test]
fn several_sockets_of_all_kinds_and_one_that_fits_nowhere() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("web.sock");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let stranger = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let unix = UnixListener::bind(&path).expect("a socket file");
    let address = tcp.local_addr().expect("a bound socket");
    let config = config("127.0.0.1:1").replace("127.0.0.1:0", &format!("unix:{}", path.display()));
    let mut daemon = start(&config, vec![tcp.into(), unix.into(), stranger.into()], "web:own:stranger");
    Client::connect(address).echo(b"tcp");
    let mut client = UnixStream::connect(&path).expect("a listener");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client.write_all(b"unix").expect("an open connection");
    let mut back = [0; 4];
    std::io::Read::read_exact(&mut client, &mut back).expect("an echo");
    assert_eq!(&back, b"unix");
    drop(client);
    daemon.logs("stranger");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(path.exists(), "the socket file belongs to systemd");
}

/// A reload leaves inherited sockets alone, and a listener that is stopped and
/// started has its socket still.
#[test]
fn inherited_sockets_survive_reload_stop_and_start() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let daemon = start(&config("127.0.0.1:1"), vec![listener.into()], "web");
    daemon.rewrite(&format!("{}\n[drain]\ntimeout = \"3s\"\n", config("127.0.0.1:1")));
    daemon.ask(&["reload"]);
    Client::connect(address).echo(b"reloaded");
    daemon.ask(&["stop", "web"]);
    let mut waiting = Client::connect(address);
    waiting.send(b"waiting");
    daemon.ask(&["start", "web"]);
    assert_eq!(waiting.receive(7), b"waiting");
}

#[test]
fn a_socket_stays_served_while_the_number_of_workers_changes() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let daemon = start(&config("127.0.0.1:1"), vec![listener.into()], "web");
    let mut held = Client::connect(address);
    for count in ["count = 4", "count = 1", "count = 3"] {
        daemon.rewrite(&config("127.0.0.1:1").replace("count = 2", count));
        daemon.ask(&["reload"]);
        for _ in 0..20 {
            Client::connect(address).echo(b"new");
        }
        held.echo(b"held");
        assert_eq!(daemon.listener("web")["origin"], "systemd");
    }
}

/// ReusePort= with more socket units than netd has workers.
#[test]
fn more_sockets_than_workers_are_all_served() {
    use socket2::{Domain, Socket, Type};
    let mut address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let mut sockets: Vec<OwnedFd> = Vec::new();
    for _ in 0..5 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_port(true).expect("a socket");
        socket.bind(&address.into()).expect("a free port");
        socket.listen(64).expect("a listening socket");
        address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("a bound socket");
        sockets.push(socket.into());
    }
    let mut early: Vec<Client> = (0..50).map(|_| Client::connect(address)).collect();
    let daemon = start(&config("127.0.0.1:1"), sockets, "web:web:web:web:web");
    early.iter_mut().for_each(|client| client.echo(b"early"));
    daemon.rewrite(&config("127.0.0.1:1").replace("count = 2", "count = 1"));
    daemon.ask(&["reload"]);
    for _ in 0..20 {
        Client::connect(address).echo(b"new");
    }
    early.iter_mut().for_each(|client| client.echo(b"still"));
}
