//! What counts as an endpoint's early reset.

use super::*;

/// Early resets after one connection to an origin that does this.
fn early_resets(serve: impl Fn(TcpStream) + Send + Sync + 'static, client: impl FnOnce(TcpStream)) -> u64 {
    let mut netd = Netd::start();
    let front = netd.relay_to(origin(serve));
    client(front.connect());
    netd.wait_until_idle();
    assert_eq!(netd.endpoints[0].connected.get(), 1);
    netd.endpoints[0].early_resets.get()
}

fn to_the_end(mut client: TcpStream) {
    // A reset is an end as well.
    let _ = client.read_to_end(&mut Vec::new());
}

#[test]
fn an_endpoint_that_closes_at_once() {
    assert_eq!(early_resets(drop, to_the_end), 1);
}

#[test]
fn an_endpoint_that_resets_what_it_was_sent() {
    let serve = |stream: TcpStream| {
        // Closed with a byte that was not read: a reset.
        until("a byte has come", || stream.peek(&mut [0]).unwrap() == 1);
    };
    let client = |mut client: TcpStream| {
        client.write_all(b"x").unwrap();
        to_the_end(client);
    };
    assert_eq!(early_resets(serve, client), 1);
}

#[test]
fn one_that_has_answered_is_not_early() {
    assert_eq!(early_resets(|mut stream| stream.write_all(b"x").unwrap(), to_the_end), 0);
}

#[test]
fn a_client_that_leaves_first_is_not_the_endpoints_fault() {
    let serve = |mut stream: TcpStream| {
        // Its end is an answer to the client's.
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let client = |client: TcpStream| {
        client.shutdown(Shutdown::Write).unwrap();
        to_the_end(client);
    };
    assert_eq!(early_resets(serve, client), 0);
}
