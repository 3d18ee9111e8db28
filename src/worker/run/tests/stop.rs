//! The end of a listener: nothing that the kernel had accepted is lost.

use std::os::unix::net::UnixStream;

use super::*;

fn stop(netd: &Netd, front: &Front) {
    netd.ask(|reply| Command::StopListener(front.spec.id, reply));
}

/// Whether somebody listens there. (A connect by this test would get a
/// connection if so, and netd would serve it.)
fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[test]
fn what_waits_in_the_queue_is_served() {
    let mut netd = Netd::start();
    let front = netd.serve(Protocol::Echo);
    let early = front.connect();
    until("it accepts", || front.spec.counters.accepted.get() == 1);
    let hold = netd.hold();
    // More than one batch.
    let mut clients: Vec<TcpStream> = (0..150).map(|_| front.connect()).collect();
    let stopped = netd.begin(|reply| Command::StopListener(front.spec.id, reply));
    drop(hold);
    stopped.recv_timeout(PATIENCE).unwrap();
    assert!(is_refused(front.address), "the reply says that it is closed");
    clients.push(early);
    for client in &mut clients {
        client.write_all(b"served").unwrap();
        expect(client, "served");
    }
    assert_eq!(front.spec.counters.accepted.get(), 151);
    assert_eq!(netd.connections().len(), 151, "open connections go on");
}

#[test]
fn clients_that_keep_coming_are_served_or_refused() {
    let mut netd = Netd::start();
    let front = netd.serve(Protocol::Echo);
    let (address, counters) = (front.address, Arc::clone(&front.spec.counters));
    let coming: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                let mut served = 0;
                // A handshake that the stop met is repeated after a second,
                // and refused then.
                while let Ok(client) = TcpStream::connect(address) {
                    let mut client = patient(client);
                    client.write_all(b"served").unwrap();
                    expect(&mut client, "served");
                    served += 1;
                }
                served
            })
        })
        .collect();
    until("there is traffic", || counters.accepted.get() > 50);
    stop(&netd, &front);
    let served: u64 = coming.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(served, counters.accepted.get());
}

#[test]
fn everyone_who_asks_is_answered_when_it_is_closed() {
    let mut netd = Netd::start();
    let front = netd.serve(Protocol::Echo);
    let first = netd.begin(|reply| Command::StopListener(front.spec.id, reply));
    stop(&netd, &front);
    assert!(is_refused(front.address));
    first.recv_timeout(PATIENCE).unwrap();
    stop(&netd, &front);
    netd.ask(|reply| Command::StopListener(ListenerId(999_999), reply));
}

#[test]
fn a_listener_that_waits_for_descriptors_stops_when_all_are_served() {
    let mut netd = Netd::with_fds(FdBudget::new(16, 8));
    let front = netd.serve(Protocol::Echo);
    let clients: Vec<TcpStream> = (0..15).map(|_| front.connect()).collect();
    until("it pauses", || front.spec.counters.paused.get() == 1);
    let stopped = netd.begin(|reply| Command::StopListener(front.spec.id, reply));
    netd.ask(Command::Ping);
    assert_eq!(stopped.try_recv(), Err(mpsc::TryRecvError::Empty), "its queue is not empty yet");
    for mut client in clients {
        client.write_all(b"served").unwrap();
        expect(&mut client, "served");
    }
    stopped.recv_timeout(PATIENCE).unwrap();
    assert_eq!(front.spec.counters.accepted.get(), 15);
}

/// A listener that looks at its queue again earlier than its stop may end.
#[test]
fn a_listener_that_waited_for_descriptors_lately_stops() {
    let mut netd = Netd::with_fds(FdBudget::new(16, 8));
    let front = netd.serve(Protocol::Echo);
    let mut clients: Vec<TcpStream> = (0..7).map(|_| front.connect()).collect();
    until("it pauses", || front.spec.counters.paused.get() == 1);
    clients.truncate(1);
    until("it accepts again", || front.spec.counters.paused.get() == 0);
    // It looks again 100 ms after it paused, and may end 50 ms after its stop.
    nap(Duration::from_millis(70));
    stop(&netd, &front);
}

#[test]
fn a_unix_listener_of_two_workers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut workers = [Netd::start(), Netd::start()];
    let sockets = bind(unix(&path), 2).sockets;
    let specs: Vec<_> = workers
        .iter_mut()
        .zip(sockets)
        .map(|(netd, socket)| {
            let spec = netd.spec(Protocol::Echo, None, None);
            netd.order(Command::AddListener(spec.clone(), socket));
            spec
        })
        .collect();
    let holds = [workers[0].hold(), workers[1].hold()];
    let mut clients: Vec<_> = (0..100).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let stops: Vec<_> = workers
        .iter()
        .zip(&specs)
        .map(|(netd, spec)| netd.begin(|reply| Command::StopListener(spec.id, reply)))
        .collect();
    drop(holds);
    for stopped in stops {
        stopped.recv_timeout(PATIENCE).unwrap();
    }
    assert!(!path.exists());
    for client in &mut clients {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"served").unwrap();
        expect(client, "served");
    }
    assert_eq!(specs.iter().map(|spec| spec.counters.accepted.get()).sum::<u64>(), 100);
}

#[test]
fn an_adopted_socket_is_left_as_it_was() {
    let systemd = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = systemd.local_addr().unwrap();
    let mut netd = Netd::start();
    let spec = netd.spec(Protocol::Echo, None, None);
    let mut bound = listen::adopt(systemd.try_clone().unwrap().into(), 1).unwrap();
    netd.order(Command::AddListener(spec.clone(), bound.sockets.remove(0)));
    let front = Front { spec, address };
    let mut client = front.connect();
    client.write_all(b"served").unwrap();
    expect(&mut client, "served");
    stop(&netd, &front);
    let _later = front.connect();
    systemd.set_nonblocking(false).unwrap();
    systemd.accept().unwrap();
    client.write_all(b"still").unwrap();
    expect(&mut client, "still");
    // The worker does not hear of it any more. (Events are booked when a turn
    // ends; a turn begins with messages.)
    netd.ask(Command::Ping);
    let events = netd.shard.events.get();
    let _later = front.connect();
    netd.ask(Command::Ping);
    netd.ask(Command::Ping);
    assert_eq!(netd.shard.events.get(), events);
}

#[test]
fn other_settings_are_for_connections_accepted_from_then_on() {
    let mut netd = Netd::start();
    let front = netd.serve(Protocol::Echo);
    let mut old = front.connect();
    until("it accepts", || front.spec.counters.accepted.get() == 1);
    let text = Arc::from(&b"new"[..]);
    let config = config::Listener { protocol: Protocol::Respond { text }, ..(*front.spec.config).clone() };
    netd.order_now(Command::UpdateListener(ListenerSpec { config: Arc::new(config), ..front.spec.clone() }));
    assert_eq!(hear(&mut front.connect()), "new");
    old.write_all(b"old").unwrap();
    expect(&mut old, "old");
}
