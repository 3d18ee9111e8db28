//! echo, discard, respond.

use crate::support::{Client, Daemon, End, Setup};

fn daemon() -> Daemon {
    Setup::config(
        r#"
        [[listener]]
        name = "echo"
        address = "127.0.0.1:0"
        protocol = "echo"
        [[listener]]
        name = "discard"
        address = "127.0.0.1:0"
        protocol = "discard"
        [[listener]]
        name = "hello"
        address = "127.0.0.1:0"
        protocol = "respond"
        [[listener]]
        name = "text"
        address = "127.0.0.1:0"
        protocol = "respond"
        text = "gone fishing\r\n"
        "#,
    )
    .start()
}

#[test]
fn each_does_what_its_name_says() {
    let daemon = daemon();

    let mut echo = daemon.connect("echo");
    echo.echo(b"RFC 862");
    echo.send(b"last words");
    echo.finish();
    assert_eq!(echo.rest(), (b"last words".to_vec(), End::Eof));

    let mut discard = daemon.connect("discard");
    discard.send(&vec![b'x'; 300_000]);
    assert!(discard.is_open());
    discard.finish();
    assert_eq!(discard.rest(), (Vec::new(), End::Eof));

    let hello = daemon.address("hello");
    for _ in 0..5 {
        assert_eq!(Client::connect(hello).rest(), (b"Hello from daemon\n".to_vec(), End::Eof));
    }
    assert_eq!(daemon.connect("text").rest(), (b"gone fishing\r\n".to_vec(), End::Eof));
}

/// A client that talks first (curl, a port check) still gets the text whole:
/// unread bytes at the close would turn it into a reset.
#[test]
fn respond_answers_a_client_that_talks_too() {
    let daemon = daemon();
    let hello = daemon.address("hello");
    for _ in 0..20 {
        let mut client = Client::connect(hello);
        client.send(b"GET / HTTP/1.0\r\n\r\n");
        assert_eq!(client.rest().0, b"Hello from daemon\n");
    }
}

#[test]
fn many_echoes_at_once_do_not_mix() {
    let daemon = daemon();
    let address = daemon.address("echo");
    let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(address)).collect();
    for round in 0..3 {
        let text = |number: usize| format!("{number}/{round} ").repeat(50 + number);
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(text(number).as_bytes());
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.receive(text(number).len()), text(number).as_bytes());
        }
    }
    drop(clients);
    daemon.becomes_idle();
}
