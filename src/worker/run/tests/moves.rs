//! Connections and listening sockets that go from one worker to another.

use std::{
    os::unix::net::{UnixListener, UnixStream},
    sync::atomic::{AtomicU64, Ordering},
};

use super::{relay::Pattern, *};
use crate::{
    listen::Duplicate,
    worker::{Arrival, ConnectionState, Door, Load, Parcel, ParcelStage, Selection, Tally},
};

/// Two workers; connections come in at one.
struct Pair {
    netds: [Netd; 2],
    /// The other one's counters for the listener and endpoint.
    listener: Arc<ListenerShard>,
    endpoint: Arc<EndpointShard>,
    /// Connections of the endpoint that have moved.
    load: Arc<Load>,
}

impl Pair {
    fn new() -> Self {
        let (one, mut other) = (Netd::start(), Netd::start());
        let listener = Arc::new(ListenerShard::new(CloseReason::ALL.len()));
        let endpoint = Arc::<EndpointShard>::default();
        other.endpoints.push(endpoint.clone());
        Self { netds: [one, other], listener, endpoint, load: Arc::default() }
    }

    /// Moves up to `limit` connections from one to the other; answers how many.
    fn go(&mut self, front: &Front, from: usize, limit: usize) -> usize {
        let to = 1 - from;
        let parcels = export(&self.netds[from], limit);
        let count = parcels.len();
        let (listener, endpoint) = match to {
            0 => (front.spec.counters.clone(), self.netds[0].endpoints.first().cloned()),
            _ => (self.listener.clone(), Some(self.endpoint.clone())),
        };
        let tally = |counters| Tally { counters, load: Arc::clone(&self.load) };
        let arrivals = parcels.into_iter().map(|parcel| Arrival {
            endpoint: endpoint.clone().filter(|_| parcel.endpoint.is_some()).map(tally),
            parcel,
            listener: listener.clone(),
            door: Some(door(front)),
        });
        let arrivals = arrivals.collect();
        let refused = self.netds[to].ask(|reply| Command::Import(arrivals, reply));
        assert!(refused.is_empty());
        count
    }

    fn closed(&self, front: &Front, reason: CloseReason) -> u64 {
        front.closed(reason) + self.listener.closed[reason.index()].get()
    }

    /// Ends both workers: connections that moved are counted by one as accepted,
    /// by the other as closed.
    fn end(self, front: &Front) {
        // Both, before the books of either are looked at: they share some.
        self.netds.iter().for_each(Netd::wait_until_idle);
        let shards = [front.spec.counters.clone(), self.listener.clone()];
        let workers = [self.netds[0].shard.clone(), self.netds[1].shard.clone()];
        for mut netd in self.netds {
            netd.wait_until_idle();
            netd.fronts.clear();
            netd.books_of_others = true;
        }
        let closed: u64 = shards.iter().flat_map(|shard| &shard.closed).map(crate::metrics::Counter::get).sum();
        let accepted: u64 = shards.iter().map(|shard| shard.accepted.get()).sum();
        assert_eq!(accepted, closed);
        assert!(shards.iter().all(|shard| shard.active.get() == 0));
        let moved = |count: fn(&WorkerShard) -> u64| workers.iter().map(|shard| count(shard)).sum::<u64>();
        assert_eq!(moved(|shard| shard.moved_in.get()), moved(|shard| shard.moved_out.get()));
        assert_eq!((self.endpoint.active.get(), self.load.get()), (0, 0));
    }
}

fn door(front: &Front) -> Door {
    Door { gate: front.spec.gate.clone(), config: front.spec.config.clone() }
}

fn export(netd: &Netd, limit: usize) -> Vec<Parcel> {
    let selection = Selection::Matching(Filter::default());
    netd.ask(|reply| Command::Export { selection, limit, reply })
}

/// Bulk both ways, checked byte by byte, while it goes back and forth.
#[test]
fn bulk_goes_on_while_its_connection_moves() {
    const LENGTH: u64 = 48 << 20;
    for accelerate in [config::Accelerate::Off, config::Accelerate::Auto, config::Accelerate::Splice] {
        let (done, origins) = mpsc::channel();
        let address = origin(move |stream| {
            let (mut reader, mut writer) = (stream.try_clone().unwrap(), stream);
            let sender = thread::spawn(move || {
                Pattern::new(2).send(&mut writer, LENGTH + 1, &AtomicU64::new(0));
                writer.shutdown(Shutdown::Write).unwrap();
            });
            done.send(Pattern::new(1).receive(&mut reader)).unwrap();
            sender.join().unwrap();
        });
        let mut pair = Pair::new();
        let pool = pair.netds[0].pool(&[Address::Inet(address)], Duration::from_secs(5), 0);
        let mut spec = pair.netds[0].spec(Protocol::tcp("pool"), Some(pool.id), None);
        Arc::make_mut(&mut spec.config).accelerate = accelerate;
        let front = pair.netds[0].listen(spec);
        let client = front.connect();
        let (mut reader, mut writer) = (client.try_clone().unwrap(), client);
        let (sent, progress) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let told = Arc::clone(&sent);
        let sender = thread::spawn(move || {
            Pattern::new(1).send(&mut writer, LENGTH, &told);
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let received = Arc::clone(&progress);
        let receiver = thread::spawn(move || {
            let length = Pattern::new(2).receive(&mut reader);
            received.store(length, Ordering::Relaxed);
            length
        });
        let (mut here, mut moves) = (0, 0);
        until("all is there", || {
            let moved = pair.go(&front, here, 8);
            moves += moved;
            here = if moved > 0 { 1 - here } else { here };
            progress.load(Ordering::Relaxed) > 0
        });
        assert_eq!(receiver.join().unwrap(), LENGTH + 1);
        assert_eq!(origins.recv_timeout(PATIENCE).unwrap(), LENGTH);
        sender.join().unwrap();
        assert!(moves > 3, "{accelerate:?}: it moved {moves} times");
        until("it is closed", || {
            pair.closed(&front, CloseReason::DONE) + pair.closed(&front, CloseReason::DONE_BY_UPSTREAM) == 1
        });
        let sum = |one: &crate::metrics::Counter, other: &crate::metrics::Counter| one.get() + other.get();
        let counters = &front.spec.counters;
        assert_eq!(sum(&counters.bytes_from_downstream, &pair.listener.bytes_from_downstream), LENGTH);
        assert_eq!(sum(&counters.bytes_to_downstream, &pair.listener.bytes_to_downstream), LENGTH + 1);
        let upstream = &pair.netds[0].endpoints[0];
        assert_eq!(sum(&upstream.bytes_to_upstream, &pair.endpoint.bytes_to_upstream), LENGTH);
        assert_eq!(sum(&upstream.bytes_from_upstream, &pair.endpoint.bytes_from_upstream), LENGTH + 1);
        pair.end(&front);
    }
}

#[test]
fn many_connections_of_every_kind_move_and_go_on() {
    let mut pair = Pair::new();
    let front = pair.netds[0].relay_to(echoing("hi "));
    let mut clients: Vec<TcpStream> = (0..60).map(|_| front.connect()).collect();
    for client in &mut clients {
        expect(client, "hi ");
    }
    // A third half-closed, a third has said something since.
    for (n, client) in clients.iter_mut().enumerate() {
        match n % 3 {
            0 => client.shutdown(Shutdown::Write).unwrap(),
            1 => client.write_all(b"before").unwrap(),
            _ => {}
        }
    }
    assert_eq!(pair.go(&front, 0, 25), 25, "no more than asked for");
    while pair.go(&front, 0, 25) > 0 {}
    assert!(pair.netds[0].connections().is_empty());
    assert!(pair.netds[1].connections().is_sorted_by_key(|each| each.id));
    for (n, client) in clients.iter_mut().enumerate() {
        if n % 3 != 0 {
            client.write_all(b"after").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        }
        let expected = ["", "beforeafter", "after"][n % 3];
        assert_eq!(hear(client), expected);
    }
    pair.end(&front);
}

#[test]
fn a_connection_keeps_its_number_its_age_and_its_books() {
    let mut pair = Pair::new();
    let front = pair.netds[0].relay_to(echoing("hello"));
    let mut client = front.connect();
    expect(&mut client, "hello");
    until("the books are made", || pair.netds[0].connections().iter().any(|each| each.bytes_to_downstream == 5));
    let before = pair.netds[0].connections().remove(0);
    assert_eq!(pair.go(&front, 0, 1), 1);
    let after = pair.netds[1].connections().remove(0);
    assert_eq!((after.id, after.listener, after.source), (before.id, before.listener, before.source));
    assert_eq!(
        (after.since, after.progressed_at, after.endpoint),
        (before.since, before.progressed_at, before.endpoint)
    );
    assert_eq!((after.bytes_from_downstream, after.bytes_to_downstream), (0, 5));
    assert_eq!((front.spec.counters.active.get(), pair.listener.active.get()), (0, 1));
    assert_eq!((pair.netds[0].endpoints[0].active.get(), pair.endpoint.active.get()), (0, 1));
    assert_eq!(pair.listener.accepted.get(), 0, "it is counted once");
    client.write_all(b"x").unwrap();
    expect(&mut client, "x");
    reset(client);
    until("the reset arrives", || pair.closed(&front, CloseReason::DOWNSTREAM_RESET) == 1);
    assert_eq!(pair.listener.closed[CloseReason::DOWNSTREAM_RESET.index()].get(), 1);
    pair.end(&front);
}

#[test]
fn the_idle_timeout_goes_on_where_it_was() {
    let mut pair = Pair::new();
    let spec = pair.netds[0].spec(Protocol::Echo, None, Some(Duration::from_millis(600)));
    let front = pair.netds[0].listen(spec);
    let mut client = front.connect();
    client.write_all(b"x").unwrap();
    expect(&mut client, "x");
    let begun = now();
    while begun.elapsed() < Duration::from_millis(400) {
        let here = usize::from(pair.netds[0].connections().is_empty());
        pair.go(&front, here, 1);
        nap(Duration::from_millis(20));
    }
    assert_eq!(hear(&mut client), "", "moving is no traffic");
    assert_eq!(pair.closed(&front, CloseReason::IDLE), 1);
    pair.end(&front);
}

#[test]
fn sessions_of_netd_s_own_move() {
    let mut pair = Pair::new();
    let text: Arc<[u8]> = (0..3_000_000_u32).map(|n| n as u8).collect();
    let front = pair.netds[0].serve(Protocol::Respond { text: text.clone() });
    let mut client = front.connect();
    until("it is accepted", || front.spec.counters.active.get() == 1);
    let mut heard = vec![0; 1000];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(pair.go(&front, 0, 9), 1);
    client.read_to_end(&mut heard).unwrap();
    assert!(heard == *text, "all of it, and nothing twice");
    drop(client);
    until("it is over", || pair.closed(&front, CloseReason::DONE_BY_NETD) == 1);
    pair.end(&front);
}

#[test]
fn a_connect_under_way_moves() {
    let hole = BlackHole::new();
    let mut pair = Pair::new();
    let front = pair.netds[0].relay_to(hole.address);
    let mut client = front.connect();
    client.write_all(b"early words").unwrap();
    until("it dials", || {
        pair.netds[0].connections().iter().any(|each| each.state == ConnectionState::Dialing && each.endpoint.is_some())
    });
    assert_eq!(pair.go(&front, 0, 9), 1);
    hole.open(|mut stream| {
        let heard = hear(&mut stream);
        stream.write_all(heard.as_bytes()).unwrap();
    });
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(hear(&mut client), "early words");
    assert_eq!((pair.endpoint.connected.get(), front.spec.counters.accepted.get()), (1, 1));
    pair.end(&front);
}

#[test]
fn a_connect_that_fails_after_the_move_is_tried_elsewhere() {
    let hole = BlackHole::new();
    let mut pair = Pair::new();
    let addresses = [Address::Inet(hole.address), Address::Inet(echoing("second"))];
    let mut pool = pair.netds[0].pool(&addresses, Duration::from_millis(300), 1);
    // Only the hole, until it has dialled.
    pool.endpoints[1].weight = 0;
    pair.netds[0].order_now(Command::SetPool(pool.clone()));
    pool.endpoints[1].weight = 1;
    pair.netds[1].endpoints.extend(pool.endpoints.iter().map(|each| each.counters.clone()));
    pair.netds[1].order_now(Command::SetPool(pool.clone()));
    let front = pair.netds[0].relay(&pool);
    let mut client = front.connect();
    until("it dials", || pair.netds[0].connections().iter().any(|each| each.endpoint.is_some()));
    assert_eq!(pair.go(&front, 0, 9), 1);
    expect(&mut client, "second");
    drop(client);
    drop(hole);
    pair.end(&front);
}

#[test]
fn unix_sockets_move() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("origin");
    let listener = UnixListener::bind(&path).unwrap();
    let mut pair = Pair::new();
    let pool = pair.netds[0].pool(&[Address::Unix(path)], Duration::from_secs(5), 0);
    let spec = pair.netds[0].spec(Protocol::tcp("pool"), Some(pool.id), None);
    let front = pair.netds[0].listen_on(spec, unix(&folder.path().join("front")));
    let mut client = UnixStream::connect(folder.path().join("front")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"one").unwrap();
    let (mut served, _) = listener.accept().unwrap();
    served.set_read_timeout(Some(PATIENCE)).unwrap();
    expect(&mut served, "one");
    let before = Arc::clone(&pool.endpoints[0].load);
    assert_eq!((before.get(), pair.load.get()), (1, 0));
    let mut here = 0;
    for round in 0..20 {
        assert_eq!(pair.go(&front, here, 9), 1);
        assert_eq!((before.get(), pair.load.get()), (0, 1), "its place goes along");
        here = 1 - here;
        let text = format!("round {round}");
        client.write_all(text.as_bytes()).unwrap();
        expect(&mut served, &text);
        served.write_all(text.as_bytes()).unwrap();
        expect(&mut client, &text);
    }
    drop((client, served));
    pair.end(&front);
}

#[test]
fn parcels_that_nobody_takes_close_their_sockets() {
    let mut pair = Pair::new();
    let front = pair.netds[0].relay_to(echoing("hi"));
    let mut client = front.connect();
    expect(&mut client, "hi");
    let parcels = export(&pair.netds[0], 9);
    assert!(matches!(parcels[0].stage, ParcelStage::Tunnel { .. }));
    assert_eq!(parcels[0].fds(), 2);
    drop(parcels);
    assert_eq!(hear(&mut client), "");
    assert!(export(&pair.netds[0], 9).is_empty());
    pair.netds.into_iter().for_each(|mut netd| netd.books_of_others = true);
}

#[test]
fn descriptors_are_taken_beyond_the_budget_and_paid_back() {
    let mut pair = Pair::new();
    pair.netds[1] = Netd::with_fds(FdBudget::new(4, 0));
    let front = pair.netds[0].relay_to(echoing("hi"));
    let mut clients: Vec<_> = (0..10).map(|_| front.connect()).collect();
    clients.iter_mut().for_each(|client| expect(client, "hi"));
    assert_eq!(pair.go(&front, 0, 99), 10, "what is open is not dropped");
    let own = pair.netds[1].relay_to(echoing("own"));
    let mut late = own.connect();
    until("it cannot accept", || own.spec.counters.paused.get() == 1);
    drop(clients);
    expect(&mut late, "own");
    drop(late);
    own.wait_until_closed(CloseReason::DONE, 1);
    pair.end(&front);
}

#[test]
fn a_listener_s_sockets_go_to_another_worker_with_their_queues() {
    let mut pair = Pair::new();
    let (front, second) = (pair.netds[0].serve(Protocol::Echo), pair.netds[1].serve(Protocol::Echo));
    let held = pair.netds[0].hold();
    let mut waiting: Vec<_> = (0..20).map(|_| front.connect()).collect();
    let receiver = pair.netds[0].begin(|reply| Command::ReleaseListener(front.spec.id, reply));
    drop(held);
    // Those that were announced before the order may have been accepted first.
    let mut sockets = receiver.recv_timeout(PATIENCE).unwrap();
    assert_eq!(sockets.len(), 1);
    let spec = ListenerSpec { counters: pair.listener.clone(), ..second.spec.clone() };
    pair.netds[1].order(Command::AddListener(spec.clone(), sockets.remove(0)));
    waiting.push(front.connect());
    for client in &mut waiting {
        client.write_all(b"x").unwrap();
        expect(client, "x");
    }
    // Both of its sockets go together.
    let mut other = second.connect();
    other.write_all(b"y").unwrap();
    expect(&mut other, "y");
    let duplicates = pair.netds[1].ask(|reply| Command::DuplicateListener(spec.id, reply)).unwrap();
    assert_eq!(duplicates.len(), 2);
    drop(duplicates);
    pair.netds[1].ask(|reply| Command::StopListener(spec.id, reply));
    assert!(TcpStream::connect(front.address).is_err() && TcpStream::connect(second.address).is_err());
    drop((waiting, other));
    pair.netds[0].wait_until_idle();
    pair.netds[1].wait_until_idle();
    pair.netds.into_iter().for_each(|mut netd| netd.books_of_others = true);
}

#[test]
fn a_listener_that_rests_keeps_its_queue() {
    let mut netd = Netd::start();
    let front = netd.serve(Protocol::Echo);
    netd.ask(|reply| Command::PauseListener(None, reply));
    let mut clients: Vec<_> = (0..10).map(|_| front.connect()).collect();
    clients.iter_mut().for_each(|client| client.write_all(b"x").unwrap());
    netd.ask(Command::Ping);
    assert_eq!(front.spec.counters.accepted.get(), 0);
    // A successor could accept them now.
    let duplicates: Vec<Duplicate> = netd.ask(|reply| Command::DuplicateListener(front.spec.id, reply)).unwrap();
    let (mut successor, _) = TcpListener::from(duplicates.into_iter().next().unwrap().fd).accept().unwrap();
    successor.write_all(b"from the other").unwrap();
    drop(successor);
    netd.order(Command::ResumeListener(Some(front.spec.id)));
    let mut first = clients.remove(0);
    expect(&mut first, "from the other");
    for client in &mut clients {
        expect(client, "x");
    }
    drop(clients);
    netd.wait_until_idle();
    // A rest does not keep it from its end.
    netd.ask(|reply| Command::PauseListener(Some(front.spec.id), reply));
    let mut last = front.connect();
    netd.ask(|reply| Command::StopListener(front.spec.id, reply));
    last.write_all(b"x").unwrap();
    expect(&mut last, "x");
}

#[test]
fn what_epoll_refuses_comes_back_as_it_was() {
    let mut pair = Pair::new();
    let front = pair.netds[0].serve(Protocol::Echo);
    let mut client = front.connect();
    client.write_all(b"x").unwrap();
    expect(&mut client, "x");
    let mut parcel = export(&pair.netds[0], 1).remove(0);
    let file = tempfile::tempfile().unwrap();
    let socket = std::mem::replace(&mut parcel.downstream.socket, file.into());
    let (id, received) = (parcel.id, parcel.downstream.received);
    let arrival = Arrival { parcel, listener: pair.listener.clone(), door: Some(door(&front)), endpoint: None };
    let mut refused = pair.netds[1].ask(|reply| Command::Import(vec![arrival], reply));
    assert_eq!((pair.listener.active.get(), pair.netds[1].shard.active.get()), (0, 0));
    assert_eq!((refused.len(), refused[0].id, refused[0].downstream.received), (1, id, received));
    let mut parcel = refused.remove(0);
    parcel.downstream.socket = socket;
    let arrival = Arrival { parcel, listener: front.spec.counters.clone(), door: Some(door(&front)), endpoint: None };
    assert!(pair.netds[0].ask(|reply| Command::Import(vec![arrival], reply)).is_empty());
    client.write_all(b"y").unwrap();
    expect(&mut client, "y");
    drop(client);
    pair.netds[0].wait_until_idle();
    pair.end(&front);
}
