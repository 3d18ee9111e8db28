//! What does not answer, what stays silent, and what runs out.

use super::*;

const SHORT: Duration = Duration::from_millis(200);

#[test]
fn a_refused_connect_is_tried_elsewhere_before_the_client_sees_anything() {
    let mut netd = Netd::start();
    let pool = netd.pool(&[nobody(), nobody(), echoing("served")].map(Address::Inet), Duration::from_secs(5), 2);
    let front = netd.relay(&pool);
    for _ in 0..6 {
        expect(&mut front.connect(), "served");
    }
    let (refused, served) = (&pool.endpoints[0].counters, &pool.endpoints[2].counters);
    assert_eq!(served.connected.get(), 6);
    assert_eq!(served.connect_failures.get(), 0);
    assert!(served.last_success_at.get() > 0);
    assert!(refused.connect_failures.get() > 0 && refused.last_failure_at.get() > 0);
    assert_eq!(refused.last_failure.get(), libc::ECONNREFUSED as u64);
    let failures: u64 = pool.endpoints.iter().map(|endpoint| endpoint.counters.connect_failures.get()).sum();
    assert_eq!((pool.counters.retries.get(), pool.counters.no_endpoint.get()), (failures, 0));
}

#[test]
fn if_all_refuse_the_client_is_reset() {
    let mut netd = Netd::start();
    // More retries than endpoints, and fewer.
    for (retries, tried) in [(9, 2), (0, 1)] {
        let pool = netd.pool(&[nobody(), nobody()].map(Address::Inet), Duration::from_secs(5), retries);
        let front = netd.relay(&pool);
        expect_reset(&mut front.connect());
        front.wait_until_closed(CloseReason::CONNECT_FAILED, 1);
        assert_eq!((pool.counters.retries.get(), pool.counters.no_endpoint.get()), (tried - 1, 0));
    }
}

#[test]
fn a_pool_without_an_endpoint_that_takes_connections() {
    let mut netd = Netd::start();
    let mut pool = netd.pool(&[Address::Inet(echoing("served"))], Duration::from_secs(5), 2);
    pool.endpoints[0].weight = 0;
    netd.order_now(Command::SetPool(pool.clone()));
    let front = netd.relay(&pool);
    expect_reset(&mut front.connect());
    front.wait_until_closed(CloseReason::NO_ENDPOINT, 1);
    assert_eq!((pool.counters.retries.get(), pool.counters.no_endpoint.get()), (0, 1));
    netd.order_now(Command::RemovePool(pool.id));
    expect_reset(&mut front.connect());
    front.wait_until_closed(CloseReason::NO_ENDPOINT, 2);
    pool.endpoints[0].weight = 1;
    netd.order_now(Command::SetPool(pool));
    expect(&mut front.connect(), "served");
}

#[test]
fn an_endpoint_that_does_not_answer_is_given_up() {
    let hole = BlackHole::new();
    let mut netd = Netd::start();
    let pool = netd.pool(&[Address::Inet(hole.address)], SHORT, 3);
    let front = netd.relay(&pool);
    expect_reset(&mut front.connect());
    front.wait_until_closed(CloseReason::CONNECT_TIMEOUT, 1);
    assert_eq!(pool.endpoints[0].counters.last_failure.get(), libc::ETIMEDOUT as u64);
    let pool = netd.pool(&[hole.address, echoing("served")].map(Address::Inet), SHORT, 1);
    let front = netd.relay(&pool);
    for _ in 0..2 {
        expect(&mut front.connect(), "served");
    }
    assert_eq!(pool.counters.retries.get(), 1);
}

#[test]
fn what_the_client_says_while_netd_dials_is_not_lost() {
    let hole = BlackHole::new();
    let mut netd = Netd::start();
    let pool = netd.pool(&[hole.address, echoing("served ")].map(Address::Inet), SHORT, 1);
    let front = netd.relay(&pool);
    for _ in 0..2 {
        let mut client = front.connect();
        client.write_all(b"early").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(hear(&mut client), "served early");
    }
}

#[test]
fn a_client_that_resets_while_netd_dials() {
    let hole = BlackHole::new();
    let mut netd = Netd::start();
    let front = netd.relay_to(hole.address);
    let client = front.connect();
    until("the connection is known", || netd.connections().len() == 1);
    reset(client);
    front.wait_until_closed(CloseReason::DOWNSTREAM_RESET_IN_DIAL, 1);
}

#[test]
fn a_silent_connection_ends_at_the_idle_timeout() {
    let (ended, ending) = mpsc::channel();
    let address = origin(move |mut stream| ended.send(hear(&mut stream)).unwrap());
    let mut netd = Netd::start();
    let pool = netd.pool(&[Address::Inet(address)], Duration::from_secs(5), 0);
    let spec = netd.spec(Protocol::tcp("pool"), Some(pool.id), Some(SHORT));
    let front = netd.listen(spec);
    let mut client = front.connect();
    client.write_all(b"x").unwrap();
    assert_eq!(hear(&mut client), "");
    assert_eq!(ending.recv_timeout(PATIENCE).unwrap(), "x");
    front.wait_until_closed(CloseReason::IDLE, 1);
    for protocol in [Protocol::Echo, Protocol::Discard] {
        let spec = netd.spec(protocol, None, Some(SHORT));
        let front = netd.listen(spec);
        assert_eq!(hear(&mut front.connect()), "");
        front.wait_until_closed(CloseReason::IDLE, 1);
    }
}

#[test]
fn bytes_that_nobody_takes_end_in_a_reset() {
    let mut netd = Netd::start();
    // Long after the client has found that nobody takes any more, however
    // little of the machine either has.
    let spec = netd.spec(Protocol::Echo, None, Some(Duration::from_secs(3)));
    let front = netd.listen(spec);
    let mut client = front.connect();
    client.set_write_timeout(Some(Duration::from_millis(700))).unwrap();
    while client.write(&[7; 100_000]).is_ok() {}
    front.wait_until_closed(CloseReason::IDLE, 1);
    expect_reset(&mut client);
}

#[test]
fn without_descriptors_clients_wait_and_none_is_lost() {
    // 16 - 8 used - 2 kept for the admin plane.
    let mut netd = Netd::with_fds(FdBudget::new(16, 8));
    let front = netd.serve(Protocol::Echo);
    let mut waiting: Vec<TcpStream> = (0..20).map(|_| front.connect()).collect();
    for (n, client) in waiting.iter_mut().enumerate() {
        write!(client, "{n:02}").unwrap();
    }
    let counters = &front.spec.counters;
    until("it pauses", || counters.paused.get() == 1);
    assert_eq!((counters.accepted.get(), netd.connections().len()), (6, 6));
    // Every one that goes lets another one in.
    for (n, mut client) in waiting.into_iter().enumerate() {
        expect(&mut client, &format!("{n:02}"));
    }
    front.wait_until_closed(CloseReason::DONE, 20);
    assert!(counters.accept_pauses.get() >= 1);
    assert_eq!((counters.accepted.get(), counters.accept_errors.get()), (20, 0));
    // All of them came back.
    let clients: Vec<_> = (0..6).map(|_| front.connect()).collect();
    until("six are served again", || netd.connections().len() == 6);
    drop(clients);
}

#[test]
fn descriptors_of_a_relay_come_back_however_it_ends() {
    let hole = BlackHole::new();
    let mut netd = Netd::with_fds(FdBudget::new(16, 8));
    let pool = netd.pool(&[hole.address, nobody()].map(Address::Inet), Duration::from_millis(20), 1);
    let front = netd.relay(&pool);
    for _ in 0..12 {
        expect_reset(&mut front.connect());
    }
    let served = netd.relay_to(echoing("served"));
    let mut clients: Vec<_> = (0..3).map(|_| served.connect()).collect();
    for client in &mut clients {
        expect(client, "served");
    }
}

#[test]
fn a_relay_to_no_pool_is_closed() {
    let mut netd = Netd::start();
    let spec = netd.spec(Protocol::tcp("pool"), None, None);
    let front = netd.listen(spec);
    expect_reset(&mut front.connect());
    front.wait_until_closed(CloseReason::NO_ENDPOINT, 1);
}
