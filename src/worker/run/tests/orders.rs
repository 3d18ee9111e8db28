//! What control may order, and what it is told.

use super::*;
use crate::worker::{
    Handle,
    command::{ConnectionState, Selection},
    worker_of,
};

fn list(netd: &Netd, filter: Filter) -> Vec<ConnectionInfo> {
    netd.ask(|reply| Command::Query(Query { filter, after: None, limit: usize::MAX }, reply))
}

fn close(netd: &Netd, selection: Selection) -> Vec<u64> {
    netd.ask(|reply| Command::Close(selection, CloseReason::KILL, reply))
}

#[test]
fn connections_by_pages() {
    let mut netd = Netd::start();
    let front = netd.serve(Protocol::Echo);
    let _clients: Vec<_> = (0..25).map(|_| front.connect()).collect();
    until("all are accepted", || front.spec.counters.active.get() == 25);
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let query = Query { filter: Filter::default(), after, limit: 10 };
        let page = netd.ask(|reply| Command::Query(query, reply));
        assert!(page.len() <= 10);
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page.into_iter().map(|connection| connection.id));
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted_by(|one, other| one < other), "ordered, none twice");
    assert!(seen.iter().all(|&id| worker_of(id) == 3));
    assert_eq!(
        netd.ask(|reply| Command::Query(Query { filter: Filter::default(), after: None, limit: 0 }, reply)).len(),
        0
    );
}

#[test]
fn connections_by_filter() {
    let mut netd = Netd::start();
    let (plain, relay) = (netd.serve(Protocol::Echo), netd.relay_to(echoing("hi")));
    let (_plain, mut relayed) = (plain.connect(), relay.connect());
    expect(&mut relayed, "hi");
    until("both are open", || netd.connections().len() == 2);
    let found = list(&netd, Filter { listeners: Some(vec![relay.spec.id]), ..Filter::default() });
    assert_eq!(found.len(), 1);
    let info = &found[0];
    assert_eq!((info.listener, info.state), (relay.spec.id, ConnectionState::Open));
    assert_eq!(info.source, Some(relayed.local_addr().unwrap()));
    until("the bytes are booked", || netd.connections().iter().any(|each| each.bytes_to_downstream == 2));
    let endpoint = info.endpoint.expect("a relay has one");
    assert_eq!(list(&netd, Filter { endpoints: Some(vec![endpoint]), ..Filter::default() })[0].id, info.id);
    let network = |text: &str, prefix| Filter { source: Some((text.parse().unwrap(), prefix)), ..Filter::default() };
    assert_eq!(list(&netd, network("127.0.0.0", 8)).len(), 2);
    assert_eq!(list(&netd, network("128.0.0.0", 8)).len(), 0);
    let before = |at| Filter { accepted_before: Some(at), ..Filter::default() };
    assert_eq!(list(&netd, before(now())).len(), 2);
    assert_eq!(list(&netd, before(info.since - Duration::from_secs(3600))).len(), 0);
    let idle = |at| Filter { idle_since: Some(at), ..Filter::default() };
    assert_eq!(list(&netd, idle(now())).len(), 2);
    relayed.shutdown(Shutdown::Write).unwrap();
    front_is(&netd, relay.spec.id, None);
}

/// Waits until the one connection of a listener is in that state, or gone.
fn front_is(netd: &Netd, id: ListenerId, state: Option<ConnectionState>) {
    until("its state", || {
        let found = list(netd, Filter { listeners: Some(vec![id]), ..Filter::default() });
        found.first().map(|connection| connection.state) == state
    });
}

#[test]
fn states_of_a_connection() {
    let hole = BlackHole::new();
    let mut netd = Netd::start();
    let front = netd.relay_to(hole.address);
    let mut client = front.connect();
    front_is(&netd, front.spec.id, Some(ConnectionState::Dialing));
    hole.open(|mut stream| {
        assert_eq!(hear(&mut stream), "question");
        stream.write_all(b"answer").unwrap();
        let _ = stream.read(&mut [0]);
    });
    // The kernel repeats the SYN after a second.
    front_is(&netd, front.spec.id, Some(ConnectionState::Open));
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(hear(&mut client), "answer");
    front_is(&netd, front.spec.id, None);
}

#[test]
fn closing_resets_both_sides_and_tells_whom() {
    let (seen, seeing) = mpsc::channel();
    let address = origin(move |mut stream| {
        stream.write_all(b"hi").unwrap();
        seen.send(io::copy(&mut stream, &mut io::sink()).map_err(|error| error.kind())).unwrap();
    });
    let mut netd = Netd::start();
    let (relay, plain) = (netd.relay_to(address), netd.serve(Protocol::Echo));
    let mut clients: Vec<_> = (0..3).map(|_| relay.connect()).collect();
    let mut other = plain.connect();
    for client in &mut clients {
        expect(client, "hi");
    }
    until("all are open", || netd.connections().len() == 4);
    let ids: Vec<u64> = list(&netd, Filter { listeners: Some(vec![relay.spec.id]), ..Filter::default() })
        .iter()
        .map(|c| c.id)
        .collect();
    assert_eq!(close(&netd, Selection::Ids(vec![ids[1], 77, ids[1]])), [ids[1]]);
    assert_eq!(seeing.recv_timeout(PATIENCE).unwrap(), Err(io::ErrorKind::ConnectionReset));
    let filter = Filter { endpoints: Some(vec![netd.connections()[0].endpoint.unwrap()]), ..Filter::default() };
    let mut closed = close(&netd, Selection::Matching(filter));
    closed.sort_unstable();
    assert_eq!(closed, [ids[0], ids[2]]);
    for client in &mut clients {
        expect_reset(client);
    }
    assert_eq!(relay.closed(CloseReason::KILL), 3);
    other.write_all(b"still here").unwrap();
    expect(&mut other, "still here");
}

#[test]
fn closing_while_it_dials() {
    let hole = BlackHole::new();
    let mut netd = Netd::start();
    let front = netd.relay_to(hole.address);
    let mut client = front.connect();
    front_is(&netd, front.spec.id, Some(ConnectionState::Dialing));
    assert_eq!(netd.endpoints[0].active.get(), 1);
    assert_eq!(close(&netd, Selection::Matching(Filter::default())).len(), 1);
    expect_reset(&mut client);
    assert_eq!((front.closed(CloseReason::KILL), netd.endpoints[0].active.get()), (1, 0));
}

#[test]
fn another_pool_while_it_dials() {
    let hole = BlackHole::new();
    let mut netd = Netd::start();
    let mut pool = netd.pool(&[Address::Inet(hole.address)], Duration::from_millis(300), 1);
    let front = netd.relay(&pool);
    let mut client = front.connect();
    front_is(&netd, front.spec.id, Some(ConnectionState::Dialing));
    pool.endpoints = vec![netd.endpoint(&Address::Inet(echoing("served")))];
    netd.order_now(Command::SetPool(pool.clone()));
    expect(&mut client, "served");
    // Forgotten while somebody looks for an endpoint of it.
    pool.endpoints = vec![netd.endpoint(&Address::Inet(hole.address))];
    netd.order_now(Command::SetPool(pool.clone()));
    let mut client = front.connect();
    until("it dials", || netd.connections().len() == 2 && pool.endpoints[0].counters.active.get() == 1);
    netd.order(Command::RemovePool(pool.id));
    expect_reset(&mut client);
    front.wait_until_closed(CloseReason::CONNECT_TIMEOUT, 1);
}

#[test]
fn a_handle_gives_orders_until_the_worker_has_stopped() {
    let fds = FdBudget::new(20_000, 0);
    let handle = Handle::spawn(Settings {
        index: 0,
        buffer_size: BLOCK,
        busy_poll: None,
        cpu: Some(0),
        epoch: now(),
        first_sequence: 1,
        fds,
        gates: ProcessGate::new(),
        access: AccessLog::default(),
    })
    .unwrap();
    let (sender, receiver) = mpsc::channel();
    handle.send(Command::Ping(Reply::new(move |()| sender.send(()).unwrap()))).unwrap();
    receiver.recv_timeout(PATIENCE).unwrap();
    assert!(!handle.is_finished());
    let mut netd = Netd::start();
    let spec = netd.spec(Protocol::Echo, None, None);
    let mut bound = bind(BindAddress::Inet(([127, 0, 0, 1], 0).into()), 1);
    let address = bound.local.clone();
    let socket: ListenSocket = bound.sockets.remove(0);
    handle.send(Command::AddListener(spec, socket)).unwrap();
    let mut client = patient(TcpStream::connect(&address).unwrap());
    client.write_all(b"x").unwrap();
    expect(&mut client, "x");
    assert_eq!(handle.shard().active.get(), 1);
    handle.send(Command::Stop).unwrap();
    until("the thread ends", || handle.is_finished());
    expect_reset(&mut client);
    assert!(TcpStream::connect(&address).is_err());
    assert!(handle.send(Command::Stop).is_err());
    assert_eq!(handle.shard().active.get(), 0);
    netd.fronts.clear();
}

#[test]
fn stopping_resets_everything() {
    let hole = BlackHole::new();
    let mut netd = Netd::start();
    let fronts = [netd.serve(Protocol::Echo), netd.relay_to(hole.address), netd.relay_to(echoing(""))];
    let mut clients: Vec<_> = fronts.iter().map(Front::connect).collect();
    until("all are accepted", || netd.connections().len() == 3);
    drop(netd);
    for (client, front) in clients.iter_mut().zip(&fronts) {
        expect_reset(client);
        assert_eq!(front.closed(CloseReason::SHUTDOWN), 1);
    }
}

#[test]
fn respond_and_discard() {
    let mut netd = Netd::start();
    let text: Vec<u8> = (0..3 * BLOCK).map(|n| b'a' + (n % 26) as u8).collect();
    let front = netd.serve(Protocol::Respond { text: Arc::from(text.as_slice()) });
    for _ in 0..3 {
        let mut client = front.connect();
        client.write_all(&[7; 1000]).unwrap();
        assert_eq!(hear(&mut client).as_bytes(), text);
    }
    front.wait_until_closed(CloseReason::DONE_BY_NETD, 3);
    let front = netd.serve(Protocol::Discard);
    let mut client = front.connect();
    client.write_all(&vec![7; 1_000_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(hear(&mut client), "");
    front.wait_until_closed(CloseReason::DONE, 1);
    assert_eq!(front.spec.counters.bytes_from_downstream.get(), 1_000_000);
}
