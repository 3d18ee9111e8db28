//! Real addresses: PROXY headers in and out, the address that netd connects
//! from, and options of TCP sockets.

mod checks;
mod options;
mod others;
mod source;

use std::{
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    time::Duration,
};

use crate::support::{
    Client, Daemon, End, Origin, PATIENCE, Setup,
    clock::{now, pause},
    eventually,
};

/// Waits until it is so.
#[track_caller]
pub(super) fn becomes(mut probe: impl FnMut() -> bool) {
    eventually("it becomes so", || probe().then_some(()));
}

/// Tells what it got first of every connection, then echoes.
pub(super) fn telling(told: mpsc::Sender<Vec<u8>>) -> Origin {
    Origin::serving(move |mut stream: TcpStream| {
        let mut bytes = vec![0; 65_536];
        let n = stream.read(&mut bytes).unwrap_or(0);
        bytes.truncate(n);
        let _ = told.send(bytes);
        let Ok(mut back) = stream.try_clone() else { return };
        let _ = std::io::copy(&mut stream, &mut back);
    })
}

fn behind(listener: &str, pool: &str, origin: SocketAddr) -> Daemon {
    Setup::config(&format!(
        r#"
        [[listener]]
        name = "front"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "back"
        {listener}
        [[listener]]
        name = "plain"
        address = "127.0.0.1:0"
        protocol = "echo"
        [[pool]]
        name = "back"
        endpoints = ["{origin}"]
        {pool}
        "#
    ))
    .start()
}

const TRUSTING: &str = "proxy_protocol = \"any\"\nproxy_trusted = [\"127.0.0.0/8\"]\nproxy_timeout = \"2s\"";

fn corpus() -> Vec<Vec<u8>> {
    let text = include_str!("../data/proxy/malformed.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let bytes = |line: &str| -> Vec<u8> {
        let digits = (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16));
        digits.collect::<Result<_, _>>().expect("hexadecimal")
    };
    lines.map(bytes).collect()
}

#[test]
fn the_client_behind_a_proxy_is_who_its_header_says() {
    let (tell, told) = mpsc::channel();
    let origin = telling(tell);
    let daemon = behind(TRUSTING, "", origin.address);
    let mut client = daemon.connect("front");
    // In pieces, with the first bytes of the client's own behind the last.
    for piece in ["PRO", "XY TCP4 192.0.2.7 198.51.1", "00.2 4711 443\r", "\nhello"] {
        client.send(piece.as_bytes());
        pause(Duration::from_millis(20));
    }
    assert_eq!(told.recv_timeout(PATIENCE).expect("bytes"), b"hello");
    client.echo(b"and back");
    let connection = &daemon.connections()[0];
    assert_eq!(connection["source"], "192.0.2.7:4711", "{connection}");
    assert_eq!(connection["proxy"], client.local().to_string(), "{connection}");
    let found = daemon.ask(&["connections", "--source", "192.0.2.0/24", "-o", "json"]);
    found.said("192.0.2.7:4711");
}

#[test]
fn a_header_goes_on_with_what_it_said() {
    let (tell, told) = mpsc::channel();
    let origin = telling(tell);
    let tlvs = "send_proxy = \"v2\"\nsend_proxy_tlvs = [\"authority\", \"alpn\", \"netns\", \"unique-id\", \"crc32c\"]";
    let second = behind(TRUSTING, "send_proxy = \"v1\"", origin.address);
    let first = behind(TRUSTING, tlvs, second.address("front"));
    let mut client = first.connect("front");
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x2e\xc0\0\x02\x07\xc6\x33\x64\x02\x12\x67\x01\xbb".to_vec();
    header.extend(b"\x02\0\x0bexample.org\x01\0\x02h2\x05\0\x03abc\x30\0\x06blue-1");
    header[15] = u8::try_from(header.len() - 16).unwrap();
    client.send(&header);
    client.send(b"first");
    let line = b"PROXY TCP4 192.0.2.7 198.51.100.2 4711 443\r\n";
    let mut got = Vec::new();
    while got.len() < line.len() {
        got.extend(told.recv_timeout(PATIENCE).expect("the header"));
    }
    assert_eq!(&got[..line.len()], line, "{}", got.escape_ascii());
    becomes(|| second.connections().first().is_some_and(|each| each["source"] == "192.0.2.7:4711"));
    assert_eq!(first.connections()[0]["proxy"], client.local().to_string());
}

#[test]
fn what_goes_out_is_a_header_of_version_2_with_a_checksum() {
    let (tell, told) = mpsc::channel();
    let origin = telling(tell);
    let pool = "send_proxy = \"v2\"\nsend_proxy_tlvs = [\"unique-id\", \"crc32c\"]";
    let daemon = behind("", pool, origin.address);
    // The client says nothing: a server that speaks first has the header.
    let client = daemon.connect("front");
    let header = told.recv_timeout(PATIENCE).expect("the header");
    assert_eq!(&header[..14], b"\r\n\r\n\0\r\nQUIT\n\x21\x11");
    let IpBytes(source) = client.local().into();
    assert_eq!(header[16..20], source);
    assert_eq!(header[24..26], client.local().port().to_be_bytes());
    assert_eq!(header[26..28], daemon.address("front").port().to_be_bytes());
    let id = daemon.connections()[0]["id"].as_str().expect("an id").trim_start_matches('0').to_owned();
    let length = usize::from(u16::from_be_bytes([header[29], header[30]]));
    assert_eq!((header[28], &header[31..31 + length]), (5, id.as_bytes()));
    let place = header.len() - 4;
    assert_eq!(header[place - 3..place], [3, 0, 4]);
    let zeroed = [&header[..place], &[0; 4]].concat();
    assert_eq!(header[place..], crc32c(&zeroed).to_be_bytes());
}

struct IpBytes([u8; 4]);

impl From<SocketAddr> for IpBytes {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self(address.ip().octets()),
            SocketAddr::V6(_) => panic!("IPv4 was asked for"),
        }
    }
}

/// RFC 3720 B.4, bit by bit: another program than netd's.
fn crc32c(bytes: &[u8]) -> u32 {
    let fold = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| fold(crc)))
}

#[test]
fn who_is_not_trusted_is_refused_or_served_as_itself() {
    let origin = Origin::echoing();
    let strangers = "proxy_protocol = \"any\"\nproxy_trusted = [\"192.0.2.0/24\"]";
    let daemon = behind(strangers, "", origin.address);
    assert_eq!(Client::what_comes(daemon.address("front")), (Vec::new(), End::Reset));
    becomes(|| closed(&daemon, "untrusted") == 1.0);
    let daemon = behind(&format!("{strangers}\nproxy_untrusted = \"plain\""), "", origin.address);
    let mut client = daemon.connect("front");
    client.echo(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n");
    assert_eq!(daemon.connections()[0]["source"], client.local().to_string());
}

fn closed(daemon: &Daemon, cause: &str) -> f64 {
    let labels = [("listener", "front"), ("phase", "header"), ("cause", cause)];
    daemon.metrics().sum("netd_listener_connections_closed_total", &labels)
}

#[test]
fn a_malformed_beginning_ends_in_time_and_harms_nobody() {
    let origin = Origin::echoing();
    let daemon = behind(TRUSTING, "", origin.address);
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.2 1 2\r\n";
    let mut bystanders: Vec<Client> = (0..3).map(|_| daemon.connect("front")).collect();
    for client in &mut bystanders {
        client.send(header);
        client.echo(b"before");
    }
    let corpus = corpus();
    let begun = now();
    let mut clients: Vec<Client> = corpus.iter().map(|_| daemon.connect("front")).collect();
    for (client, bytes) in clients.iter_mut().zip(&corpus) {
        client.send(bytes);
    }
    for (client, bytes) in clients.iter_mut().zip(&corpus) {
        let (said, _) = client.rest();
        assert_eq!(said, b"", "{}", bytes.escape_ascii());
    }
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(origin.accepted(), 3, "none came through");
    becomes(|| closed(&daemon, "malformed") + closed(&daemon, "timeout") == corpus.len() as f64);
    assert!(closed(&daemon, "timeout") >= 3.0);
    bystanders.iter_mut().for_each(|client| client.echo(b"after"));
    // One that ends in the middle.
    let mut client = daemon.connect("front");
    client.send(&header[..20]);
    client.finish();
    assert_eq!(client.rest().0, b"");
    becomes(|| closed(&daemon, "end") == 1.0);
}

#[test]
fn a_connection_that_waits_for_its_header_outlives_an_upgrade() {
    let origin = Origin::echoing();
    let waiting = "proxy_protocol = \"any\"\nproxy_trusted = [\"127.0.0.0/8\"]\nproxy_timeout = \"60s\"";
    let mut daemon = behind(waiting, "", origin.address);
    let mut begun = daemon.connect("front");
    begun.send(b"PROXY TCP4 192.0.2.7 ");
    let mut known = daemon.connect("front");
    known.send(b"PROXY TCP4 192.0.2.8 198.51.100.2 1 2\r\n");
    known.echo(b"before");
    becomes(|| daemon.connections().iter().any(|each| each["state"] == "identifying"));
    daemon.upgrade(&[]);
    becomes(|| daemon.connections().len() == 2);
    begun.send(b"198.51.100.2 3 4\r\nhi");
    assert_eq!(begun.receive(2), b"hi");
    known.echo(b"after");
    let connections = daemon.connections();
    let mut sources: Vec<String> =
        connections.iter().map(|each| each["source"].as_str().unwrap_or_default().to_owned()).collect();
    sources.sort();
    assert_eq!(sources, ["192.0.2.7:3", "192.0.2.8:1"]);
    assert!(connections.iter().all(|each| each["proxy"].as_str().is_some_and(|proxy| proxy.starts_with("127."))));
}

/// A port that nobody listens on, for the programs of others.
pub(super) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr()).expect("a port").port()
}
