//! The address that netd connects from.

use std::{net::TcpStream, process::Command, sync::mpsc};

use super::behind;
use crate::support::{Origin, PATIENCE, Setup};

#[test]
fn a_fixed_address_of_this_machine() {
    let (tell, told) = mpsc::channel();
    let origin = Origin::serving(move |stream: TcpStream| {
        let _ = tell.send(stream.peer_addr().expect("a peer").ip());
    });
    let daemon = behind("", "source = \"127.0.0.9\"", origin.address);
    let _client = daemon.connect("front");
    assert_eq!(told.recv_timeout(PATIENCE).expect("a peer").to_string(), "127.0.0.9");
}

#[test]
fn what_is_not_permitted_is_told_at_the_start_and_before_a_reload() {
    let config = |more: &str| {
        format!("[metrics]\nlisten = \"off\"\n[[pool]]\nname = \"back\"\nendpoints = [\"127.0.0.1:9\"]\n{more}\n")
    };
    let far = "source = \"192.0.2.77\"";
    let refused = Setup::config(&config(far)).run();
    refused.ended_with(1).complained("pool/back: connections to its endpoints: source: ").complained("no such address");
    let daemon = Setup::config(&config("")).start();
    daemon.rewrite(&config("[pool.tcp]\ninterface = \"no-such\""));
    daemon.netctl(&["reload"]).complained("pool/back: connections to its endpoints: tcp.interface: ");
}

/// In a network of its own: packets of a client's address that come back to
/// netd's machine, as a router between would bring them.
#[test]
fn the_clients_own_address() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: not root");
    }
    let script = r#"
        set -e
        ip link set lo up
        ip rule add fwmark 1 lookup 100 2>/dev/null
        ip route add local 0.0.0.0/0 dev lo table 100
        exec "$@"
    "#;
    let works = Command::new("unshare").args(["--net", "sh", "-c", script, "sh", "true"]).output();
    if !works.as_ref().is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: no network namespace with routes: {works:?}");
    }
    // The client is 127.0.0.5; that netd's own default would be 127.0.0.1 shows
    // whose address it is. 192.0.2.5 is nobody's: it takes the capability, and
    // comes with a PROXY header.
    let helper = env!("CARGO_BIN_EXE_netd");
    let driver = r#"
import os, socket, subprocess, sys, tempfile, time
netd, directory = sys.argv[1:3]
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen(); server.settimeout(20)
free = socket.socket(); free.bind(("127.0.0.1", 0)); port = free.getsockname()[1]; free.close()
path = os.path.join(directory, "netd.toml")
open(path, "w").write(f'''
[metrics]
listen = "off"
[admin]
unix = "off"
[[listener]]
name = "front"
address = "127.0.0.1:{port}"
protocol = "tcp"
pool = "back"
proxy_protocol = "any"
proxy_trusted = ["127.0.0.0/8"]
[[pool]]
name = "back"
endpoints = ["127.0.0.1:{server.getsockname()[1]}"]
source = "client"
''')
daemon = subprocess.Popen([netd, "--config", path], stderr=subprocess.DEVNULL)
try:
    for _ in range(200):
        try:
            client = socket.create_connection(("127.0.0.1", port), 20); break
        except OSError:
            time.sleep(0.05)
    client.sendall(b"PROXY TCP4 127.0.0.5 127.0.0.1 7 8\r\nhi")
    print(server.accept()[1][0])
    client = socket.create_connection(("127.0.0.1", port), 20)
    client.sendall(b"PROXY TCP4 192.0.2.5 127.0.0.1 7 8\r\nhi")
    print(server.accept()[1][0])
finally:
    daemon.kill(); daemon.wait()
"#;
    // Answers to an address that is not the machine's must come back to it.
    let route = "ip route add local 192.0.2.0/24 dev lo; exec \"$@\"";
    let inner = script.replace("exec \"$@\"", route);
    let directory = tempfile::tempdir().expect("a directory");
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", &inner, "sh", "python3", "-c", driver, helper])
        .arg(directory.path())
        .output();
    let Ok(output) = output else { return eprintln!("skipped: no python3") };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().collect::<Vec<_>>(), ["127.0.0.5", "192.0.2.5"], "{complained}");
}
