//! Listening sockets: adopted, added, removed.

use crate::support::{Client, Origin, Setup, ports};

#[test]
fn listeners_come_and_go_with_the_configuration() {
    let origin = Origin::echoing();
    let [kept, moved, gone, new] = std::array::from_fn(|_| ports::free());
    let listener = |name: &str, address: std::net::SocketAddr, what: &str| {
        format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\n{what}\n")
    };
    let echo = "protocol = \"echo\"";
    let relay = "protocol = \"tcp\"\npool = \"back\"";
    let pool = format!("[[pool]]\nname = \"back\"\nendpoints = [\"{}\"]\n", origin.address);
    let before = [listener("kept", kept, echo), listener("moved", moved, echo), listener("gone", gone, relay), pool];
    let mut daemon = Setup::config(&before.concat()).start();
    let mut clients = [kept, moved, gone].map(Client::connect);
    clients.iter_mut().for_each(|client| client.echo(b"before"));
    // `kept` has another name, `moved` another address, `gone` and its pool are gone, `new` is new.
    let elsewhere = ports::free();
    let after = [
        listener("renamed", kept, echo),
        listener("moved", elsewhere, echo),
        listener("new", new, "protocol = \"echo\""),
    ];
    daemon.rewrite(&after.concat());
    daemon.upgrade(&[]);
    clients.iter_mut().for_each(|client| client.echo(b"after"));
    for address in [kept, elsewhere, new] {
        Client::connect(address).echo(b"new ones");
    }
    let closed = |address| crate::support::eventually("it is closed", || Client::try_connect(address).err());
    closed(moved);
    closed(gone);
    clients.iter_mut().for_each(|client| client.echo(b"still"));
    drop(clients);
    daemon.becomes_idle();
}

#[test]
fn unix_sockets_keep_their_file_and_their_last_user_removes_it() {
    let setup = Setup::config("[[listener]]\nname = \"echo\"\naddress = \"unix:DIR/echo.sock\"\nprotocol = \"echo\"\n");
    let path = setup.path("echo.sock");
    let mut daemon = setup.start();
    let mut client = std::os::unix::net::UnixStream::connect(&path).expect("it listens");
    let mut echo = |text: &[u8]| {
        use std::io::{Read, Write};
        let mut back = vec![0; text.len()];
        client.write_all(text).and_then(|()| client.read_exact(&mut back)).expect("an echo");
        assert_eq!(back, text);
    };
    echo(b"before");
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).expect("a file"));
    daemon.upgrade(&[]);
    daemon.upgrade(&[]);
    echo(b"after");
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).expect("a file")), inode);
    std::os::unix::net::UnixStream::connect(&path).expect("it listens");
    daemon.ask(&["shutdown", "--now"]);
    crate::support::eventually("the file is gone", || (!path.exists()).then_some(()));
    crate::support::eventually("it ends", || (!daemon.process.is_alive()).then_some(()));
}
