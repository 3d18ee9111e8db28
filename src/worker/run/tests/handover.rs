//! A listening socket that changes its worker, and connections that are ended
//! in good order.

use super::*;
use crate::worker::Resting;

/// Clients whose handshakes the kernel has completed before any worker saw
/// them go with the socket, and so do those that come while nobody has it.
#[test]
fn a_socket_goes_with_what_waits_in_its_queue() {
    let (mut one, mut other) = (Netd::start(), Netd::start());
    let front = one.serve(Protocol::Echo);
    let early = front.connect();
    until("it accepts", || front.spec.counters.accepted.get() == 1);
    let hold = one.hold();
    let released = one.begin(|reply| Command::ReleaseListener(front.spec.id, reply));
    // Orders come before readiness: none of these is accepted by the first.
    let mut clients: Vec<TcpStream> = (0..100).map(|_| front.connect()).collect();
    drop(hold);
    let socket = released.recv_timeout(PATIENCE).unwrap().pop().expect("the socket");
    clients.extend((0..50).map(|_| front.connect()));
    let guest = other.spec(Protocol::Echo, None, None);
    other.order(Command::AddListener(guest.clone(), socket));
    clients.push(early);
    for client in &mut clients {
        client.write_all(b"served").unwrap();
        expect(client, "served");
    }
    let accepted = (front.spec.counters.accepted.get(), guest.counters.accepted.get());
    assert_eq!(accepted.0 + accepted.1, 151);
    assert!(accepted.1 >= 50, "{accepted:?}");
    let again = one.ask(|reply| Command::ReleaseListener(front.spec.id, reply));
    assert!(again.is_empty(), "it was given away");
    // And back, under the old id.
    let socket = other.ask(|reply| Command::ReleaseListener(guest.id, reply)).pop().expect("the socket");
    let before = front.spec.counters.accepted.get();
    one.order(Command::AddListener(front.spec.clone(), socket));
    let mut late = front.connect();
    late.write_all(b"back").unwrap();
    expect(&mut late, "back");
    assert_eq!(front.spec.counters.accepted.get(), before + 1);
}

#[test]
fn a_listener_that_stops_is_not_given_away() {
    let mut netd = Netd::start();
    let front = netd.serve(Protocol::Echo);
    let stopped = netd.begin(|reply| Command::StopListener(front.spec.id, reply));
    assert!(netd.ask(|reply| Command::ReleaseListener(front.spec.id, reply)).is_empty());
    stopped.recv_timeout(PATIENCE).unwrap();
}

fn resting(netd: &Netd, limit: usize) -> Vec<Resting> {
    netd.ask(|reply| Command::Resting(Filter::default(), limit, reply))
}

#[test]
fn what_rests_ends_in_good_order_the_longest_idle_first() {
    let mut netd = Netd::start();
    let front = netd.relay_to(echoing("origin"));
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = front.connect();
        expect(&mut client, "origin");
        clients.push(client);
        nap(Duration::from_millis(3));
    }
    let all = resting(&netd, 10);
    assert_eq!(all.len(), 3);
    assert!(all.is_sorted());
    assert_eq!(resting(&netd, 2), all[..2]);
    let ids = netd.ask(|reply| Command::Retire(all[..2].to_vec(), CloseReason::RETIRED, reply));
    assert_eq!(ids.len(), 2);
    for client in &mut clients[..2] {
        assert_eq!(hear(client), "", "an end, not a reset");
    }
    clients[2].write_all(b"goes on").unwrap();
    expect(&mut clients[2], "goes on");
    assert_eq!(front.closed(CloseReason::RETIRED), 2);
}

#[test]
fn what_moves_or_waits_for_an_answer_does_not_rest() {
    let mut netd = Netd::start();
    let front = netd.serve(Protocol::Echo);
    let (mut busy, mut half) = (front.connect(), front.connect());
    for client in [&mut busy, &mut half] {
        client.write_all(b"x").unwrap();
        expect(client, "x");
    }
    let named = resting(&netd, 10);
    assert_eq!(named.len(), 2);
    nap(Duration::from_millis(3));
    busy.write_all(b"y").unwrap();
    expect(&mut busy, "y");
    half.shutdown(Shutdown::Write).unwrap();
    assert_eq!(hear(&mut half), "");
    netd.ask(Command::Ping);
    until("the half-closed one is done", || netd.connections().len() == 1);
    let ids = netd.ask(|reply| Command::Retire(named, CloseReason::RETIRED, reply));
    assert!(ids.is_empty(), "it has moved a byte since it was named");
    busy.write_all(b"z").unwrap();
    expect(&mut busy, "z");
}
