//! Connections without a byte leave an endpoint that is gone from its pool.

use std::io::ErrorKind;

use super::*;

/// A pool with only `endpoint` at first, and the listener that relays to it.
fn front(netd: &mut Netd, endpoint: &Address) -> (PoolSpec, Front) {
    let pool = netd.pool(std::slice::from_ref(endpoint), Duration::from_secs(5), 1);
    let front = netd.relay(&pool);
    (pool, front)
}

/// The pool has these endpoints now, and not those of before.
fn replace(netd: &mut Netd, pool: &PoolSpec, endpoints: &[Address]) -> Vec<EndpointSpec> {
    let endpoints: Vec<EndpointSpec> = endpoints.iter().map(|each| netd.endpoint(each)).collect();
    netd.order_now(Command::SetPool(PoolSpec { endpoints: endpoints.clone(), ..pool.clone() }));
    endpoints
}

fn redial(netd: &Netd, pool: &PoolSpec) -> usize {
    netd.ask(|reply| Command::Redial(vec![pool.endpoints[0].id], reply)).len()
}

fn relayed(netd: &Netd, connections: usize) {
    let open = |info: &ConnectionInfo| info.state == crate::worker::ConnectionState::Open;
    until("all are relayed", || netd.connections().iter().filter(|info| open(info)).count() == connections);
}

/// An origin that says its name only after a byte, and tells when a connection
/// has ended before one came.
fn answering(name: &'static str, ended: mpsc::Sender<usize>) -> Address {
    Address::Inet(origin(move |mut stream| {
        let mut byte = [0];
        let n = stream.read(&mut byte).unwrap();
        if n > 0 {
            stream.write_all(name.as_bytes()).unwrap();
            let _ = stream.read(&mut byte);
        } else {
            ended.send(n).unwrap();
        }
    }))
}

fn ask(client: &mut TcpStream, name: &str) {
    client.write_all(b"x").unwrap();
    expect(client, name);
}

#[test]
fn only_those_without_a_byte_go_and_nobody_notices() {
    let (ended, ends) = mpsc::channel();
    let (a, b) = (answering("a", ended.clone()), answering("b", ended));
    let mut netd = Netd::start();
    let (pool, front) = front(&mut netd, &a);
    let (mut unused, mut used) = (front.connect(), front.connect());
    ask(&mut used, "a");
    relayed(&netd, 2);
    assert_eq!(redial(&netd, &pool), 0, "the endpoint is of the pool still");
    let others = replace(&mut netd, &pool, &[b]);
    assert_eq!(redial(&netd, &pool), 1);
    assert_eq!(ends.recv_timeout(PATIENCE), Ok(0), "a sees an ordinary end");
    ask(&mut unused, "b");
    until("one is counted", || netd.shard.redialed.get() == 1);
    let active = |each: &EndpointSpec| (each.counters.active.get(), each.load.get());
    assert_eq!((active(&pool.endpoints[0]), active(&others[0])), ((1, 1), (1, 1)));
    assert_eq!(redial(&netd, &pool), 0, "the other one has had its byte");
    drop((unused, used));
    netd.wait_until_idle();
    assert_eq!((active(&pool.endpoints[0]), active(&others[0])), ((0, 0), (0, 0)));
}

#[test]
fn without_another_that_takes_it_a_connection_stays() {
    let (ended, ends) = mpsc::channel();
    let a = answering("a", ended);
    let mut netd = Netd::start();
    let (pool, front) = front(&mut netd, &a);
    let mut client = front.connect();
    relayed(&netd, 1);
    replace(&mut netd, &pool, &[]);
    assert_eq!(redial(&netd, &pool), 0, "there is none");
    let others = replace(&mut netd, &pool, &[Address::Inet(nobody()), Address::Inet(nobody())]);
    assert_eq!(redial(&netd, &pool), 1);
    until("both have refused", || others.iter().all(|each| each.counters.connect_failures.get() == 1));
    relayed(&netd, 1);
    assert_eq!((netd.shard.redialed.get(), pool.endpoints[0].load.get()), (0, 1));
    assert!(others.iter().all(|each| each.load.get() == 0));
    ask(&mut client, "a");
    assert!(ends.try_recv().is_err(), "a has seen no end");
}

#[test]
fn what_a_client_says_meanwhile_is_for_whoever_takes_it() {
    let (ended, _ends) = mpsc::channel();
    let a = answering("a", ended);
    let mut netd = Netd::start();
    let (pool, front) = front(&mut netd, &a);
    let mut client = front.connect();
    relayed(&netd, 1);
    let hole = BlackHole::new();
    replace(&mut netd, &pool, &[Address::Inet(hole.address)]);
    assert_eq!(redial(&netd, &pool), 1);
    client.write_all(b"x").unwrap();
    hole.open(|mut stream| {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        stream.write_all(&[byte[0], b'!']).unwrap();
    });
    expect(&mut client, "x!");
}

#[test]
fn a_client_that_leaves_meanwhile_leaves_nothing_behind() {
    let (ended, _ends) = mpsc::channel();
    let a = answering("a", ended);
    let mut netd = Netd::start();
    let (pool, front) = front(&mut netd, &a);
    let client = front.connect();
    relayed(&netd, 1);
    let hole = BlackHole::new();
    let others = replace(&mut netd, &pool, &[Address::Inet(hole.address)]);
    assert_eq!(redial(&netd, &pool), 1);
    reset(client);
    front.wait_until_closed(CloseReason::DOWNSTREAM_RESET_IN_DIAL, 1);
    assert_eq!((pool.endpoints[0].load.get(), others[0].load.get()), (0, 0));
}

#[test]
fn one_that_leaves_the_worker_meanwhile_goes_with_what_it_has() {
    let (ended, ends) = mpsc::channel();
    let a = answering("a", ended);
    let mut netd = Netd::start();
    netd.books_of_others = true;
    let (pool, front) = front(&mut netd, &a);
    let client = front.connect();
    relayed(&netd, 1);
    let hole = BlackHole::new();
    let others = replace(&mut netd, &pool, &[Address::Inet(hole.address)]);
    assert_eq!(redial(&netd, &pool), 1);
    let selection = crate::worker::Selection::Matching(Filter::default());
    let mut parcels = netd.ask(|reply| Command::Export { selection, limit: 9, reply });
    let parcel = parcels.pop().unwrap();
    assert_eq!(parcel.endpoint, Some(pool.endpoints[0].id));
    assert!(matches!(parcel.stage, crate::worker::ParcelStage::Tunnel { .. }));
    assert_eq!((pool.endpoints[0].load.get(), others[0].load.get()), (1, 0), "its place goes along");
    assert!(ends.try_recv().is_err(), "its sockets are open");
    drop((parcel, client));
    assert_eq!(pool.endpoints[0].load.get(), 0);
}

#[test]
fn what_the_server_has_said_or_ended_is_the_clients() {
    for text in ["hello", ""] {
        let (go, gone) = mpsc::channel::<()>();
        let gone = std::sync::Mutex::new(gone);
        let a = Address::Inet(origin(move |mut stream| {
            let _ = gone.lock().unwrap().recv_timeout(PATIENCE);
            stream.write_all(text.as_bytes()).unwrap();
        }));
        let (ended, _ends) = mpsc::channel();
        let mut netd = Netd::start();
        let (pool, front) = front(&mut netd, &a);
        let mut client = front.connect();
        relayed(&netd, 1);
        replace(&mut netd, &pool, &[answering("b", ended)]);
        // The worker sees the order before it sees what has come.
        let held = netd.hold();
        let moved = netd.begin(|reply| Command::Redial(vec![pool.endpoints[0].id], reply));
        go.send(()).unwrap();
        nap(Duration::from_millis(50));
        drop(held);
        assert_eq!(moved.recv_timeout(PATIENCE).unwrap().len(), 0);
        assert_eq!(hear(&mut client), text);
    }
}

#[test]
fn many_go_in_parts_and_traffic_goes_on() {
    const MANY: usize = 300;
    let (ended, ends) = mpsc::channel();
    let (a, b) = (answering("a", ended.clone()), answering("b", ended));
    let mut netd = Netd::start();
    let (pool, front) = front(&mut netd, &a);
    let mut clients: Vec<TcpStream> = (0..MANY).map(|_| front.connect()).collect();
    relayed(&netd, MANY);
    replace(&mut netd, &pool, &[b]);
    assert_eq!(redial(&netd, &pool), MANY);
    for _ in 0..MANY {
        assert_eq!(ends.recv_timeout(PATIENCE), Ok(0));
    }
    clients.iter_mut().for_each(|client| ask(client, "b"));
    for mut client in clients {
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    assert_eq!(netd.shard.redialed.get(), MANY as u64);
}
