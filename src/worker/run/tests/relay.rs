//! Bytes, ends and resets through the relay.

use std::{
    os::unix::net::{UnixListener, UnixStream},
    sync::atomic::{AtomicU64, Ordering},
};

use super::*;

/// Bytes whose place in the stream can be told: the period is a prime.
pub(super) struct Pattern(Vec<u8>);

impl Pattern {
    const PERIOD: usize = 65_521;

    pub(super) fn new(seed: u32) -> Self {
        let mut state = seed.wrapping_mul(2_654_435_761).max(1);
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        let mut bytes: Vec<u8> = (0..Self::PERIOD).map(|_| next()).collect();
        bytes.extend_from_within(..);
        Self(bytes)
    }

    fn at(&self, place: u64, length: usize) -> &[u8] {
        &self.0[(place % Self::PERIOD as u64) as usize..][..length]
    }

    /// Writes `length` bytes of it; `progress` tells how far it is.
    pub(super) fn send(&self, stream: &mut TcpStream, length: u64, progress: &AtomicU64) {
        let mut place = 0;
        while place < length {
            let piece = (length - place).min(Self::PERIOD as u64) as usize;
            let n = stream.write(self.at(place, piece)).unwrap();
            place += n as u64;
            progress.store(place, Ordering::Relaxed);
        }
    }

    /// Reads to the end and compares; answers the length.
    pub(super) fn receive(&self, stream: &mut TcpStream) -> u64 {
        let mut buffer = vec![0; 32 * 1024];
        let mut place = 0;
        loop {
            let n = stream.read(&mut buffer).unwrap();
            if n == 0 {
                return place;
            }
            assert!(buffer[..n] == *self.at(place, n), "other bytes came at {place}");
            place += n as u64;
        }
    }
}

#[test]
fn both_directions_at_once() {
    const LENGTH: u64 = 8 << 20;
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
    let mut netd = Netd::start();
    let front = netd.relay_to(address);
    let client = front.connect();
    let (mut reader, mut writer) = (client.try_clone().unwrap(), client);
    let sender = thread::spawn(move || {
        Pattern::new(1).send(&mut writer, LENGTH, &AtomicU64::new(0));
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert_eq!(Pattern::new(2).receive(&mut reader), LENGTH + 1);
    assert_eq!(origins.recv_timeout(PATIENCE).unwrap(), LENGTH);
    sender.join().unwrap();
    netd.wait_until_idle();
    assert_eq!(front.closed(CloseReason::DONE) + front.closed(CloseReason::DONE_BY_UPSTREAM), 1);
    let counters = &front.spec.counters;
    assert_eq!((counters.bytes_from_downstream.get(), counters.bytes_to_downstream.get()), (LENGTH, LENGTH + 1));
    let endpoint = &netd.endpoints[0];
    assert_eq!((endpoint.bytes_to_upstream.get(), endpoint.bytes_from_upstream.get()), (LENGTH, LENGTH + 1));
    assert_eq!((endpoint.connected.get(), endpoint.connect_failures.get()), (1, 0));
}

#[test]
fn a_slow_reader_stalls_the_origin_and_costs_one_block() {
    const LENGTH: u64 = 100 << 20;
    let progress = Arc::<AtomicU64>::default();
    let sent = Arc::clone(&progress);
    let address = origin(move |mut stream| Pattern::new(5).send(&mut stream, LENGTH, &sent));
    let mut netd = Netd::start();
    let front = netd.relay_to(address);
    let mut client = front.connect();
    // Stalled: nothing moved in many looks.
    let (mut last, mut same) = (0, 0);
    until("the origin stalls", || {
        let here = progress.load(Ordering::Relaxed);
        same = if here == last && here > 0 { same + 1 } else { 0 };
        last = here;
        same == 100
    });
    assert!(last < LENGTH, "the kernel's buffers do not hold it all");
    assert_eq!(netd.shard.buffers.get(), 1, "blocks in use or kept");
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(Pattern::new(5).receive(&mut client), LENGTH);
    drop(client);
    front.wait_until_closed(CloseReason::DONE_BY_UPSTREAM, 1);
    assert_eq!(netd.shard.buffers.get(), 1);
}

#[test]
fn a_client_that_has_ended_gets_the_whole_answer() {
    let address = origin(|mut stream| {
        let question = hear(&mut stream);
        stream.write_all(question.to_uppercase().as_bytes()).unwrap();
    });
    let mut netd = Netd::start();
    let front = netd.relay_to(address);
    let mut client = front.connect();
    client.write_all(b"is it whole?").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(hear(&mut client), "IS IT WHOLE?");
    front.wait_until_closed(CloseReason::DONE, 1);
}

#[test]
fn an_origin_that_has_ended_hears_the_client_out() {
    let (heard, hearing) = mpsc::channel();
    let address = origin(move |mut stream| {
        stream.write_all(b"I am done").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        heard.send(hear(&mut stream)).unwrap();
    });
    let mut netd = Netd::start();
    let front = netd.relay_to(address);
    let mut client = front.connect();
    assert_eq!(hear(&mut client), "I am done");
    client.write_all(b"but I am not").unwrap();
    drop(client);
    assert_eq!(hearing.recv_timeout(PATIENCE).unwrap(), "but I am not");
    front.wait_until_closed(CloseReason::DONE_BY_UPSTREAM, 1);
}

#[test]
fn a_reset_goes_through_either_way() {
    let (seen, seeing) = mpsc::channel();
    let address = origin(move |mut stream| {
        stream.write_all(b"hello").unwrap();
        let error = io::copy(&mut stream, &mut io::sink()).map_err(|error| error.kind());
        seen.send(error).unwrap();
    });
    let mut netd = Netd::start();
    let front = netd.relay_to(address);
    let mut client = front.connect();
    expect(&mut client, "hello");
    reset(client);
    assert_eq!(seeing.recv_timeout(PATIENCE).unwrap(), Err(io::ErrorKind::ConnectionReset));
    front.wait_until_closed(CloseReason::DOWNSTREAM_RESET, 1);

    let address = origin(|mut stream| {
        stream.read_exact(&mut [0; 1]).unwrap();
        reset(stream);
    });
    let front = netd.relay_to(address);
    let mut client = front.connect();
    client.write_all(b"x").unwrap();
    expect_reset(&mut client);
    front.wait_until_closed(CloseReason::UPSTREAM_RESET, 1);
}

#[test]
fn a_client_that_resets_after_its_end_does_not_keep_the_origin_busy() {
    let (seen, seeing) = mpsc::channel();
    let address = origin(move |mut stream| {
        assert_eq!(hear(&mut stream), "a long query");
        seen.send(Ok(0)).unwrap();
        // Says nothing; waits for what a write would meet.
        until("the reset arrives", || stream.write(b"").is_err() || stream.take_error().unwrap().is_some());
        seen.send(Err(())).unwrap();
    });
    let mut netd = Netd::start();
    let front = netd.relay_to(address);
    let mut client = front.connect();
    client.write_all(b"a long query").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(seeing.recv_timeout(PATIENCE).unwrap(), Ok(0));
    reset(client);
    assert_eq!(seeing.recv_timeout(PATIENCE).unwrap(), Err(()));
    front.wait_until_closed(CloseReason::DOWNSTREAM_RESET, 1);
}

/// A server that answers before it has read everything, and closes.
#[test]
fn an_answer_arrives_whole_though_the_origin_resets_behind_it() {
    let address = origin(|mut stream| {
        stream.read_exact(&mut [0; 4]).unwrap();
        stream.write_all(&[b'a'; 30_000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // The rest of the upload meets a closed socket.
        stream.read_exact(&mut [0; 4]).unwrap();
    });
    let mut netd = Netd::start();
    let front = netd.relay_to(address);
    let mut client = front.connect();
    client.write_all(b"post").unwrap();
    let mut first = [0; 1];
    client.read_exact(&mut first).unwrap();
    let mut writer = client.try_clone().unwrap();
    let sender = thread::spawn(move || {
        // Until it is cut off, or has said a lot.
        (0..2000).try_for_each(|_| writer.write_all(&[b'u'; 1000])).and_then(|()| writer.shutdown(Shutdown::Write))
    });
    assert_eq!(hear(&mut client).len(), 29_999);
    sender.join().unwrap().unwrap();
    front.wait_until_closed(CloseReason::DONE_BY_UPSTREAM, 1);
}

#[test]
fn urgent_data_does_not_hold_up_what_follows() {
    let mut netd = Netd::start();
    let front = netd.relay_to(echoing(""));
    let mut client = front.connect();
    for _ in 0..20 {
        client.write_all(b"before").unwrap();
        socket2::SockRef::from(&client).send_out_of_band(b"!").unwrap();
        client.write_all(b"behind").unwrap();
        // Linux takes the urgent byte itself out of the stream (tcp(7)).
        expect(&mut client, "beforebehind");
    }
}

#[test]
fn unix_sockets_and_ipv6() {
    let folder = tempfile::tempdir().unwrap();
    let (front_path, origin_path) = (folder.path().join("front"), folder.path().join("origin"));
    let listener = UnixListener::bind(&origin_path).unwrap();
    let six = TcpListener::bind("[::1]:0").unwrap();
    let six_address = six.local_addr().unwrap();
    accept_for(six, |mut stream| drop(stream.write_all(b"over six")));
    let mut netd = Netd::start();

    let pool = netd.pool(&[Address::Unix(origin_path)], Duration::from_secs(5), 0);
    let spec = netd.spec(Protocol::tcp("pool"), Some(pool.id), None);
    netd.listen_on(spec, unix(&front_path));
    let mut client = UnixStream::connect(&front_path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (mut served, _) = listener.accept().unwrap();
    served.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    served.read_to_string(&mut text).unwrap();
    assert_eq!(text, "question");
    assert_eq!(netd.connections()[0].source, None);
    served.write_all(b"answer").unwrap();
    drop(served);
    text.clear();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "answer");

    let pool = netd.pool(&[Address::Inet(six_address)], Duration::from_secs(5), 0);
    let spec = netd.spec(Protocol::tcp("pool"), Some(pool.id), None);
    let front = netd.listen_on(spec, BindAddress::Inet("[::1]:0".parse().unwrap()));
    assert_eq!(hear(&mut front.connect()), "over six");
}

#[test]
fn many_clients_at_once() {
    let mut netd = Netd::start();
    let front = netd.relay_to(echoing("hi "));
    let mut clients: Vec<TcpStream> = (0..100).map(|_| front.connect()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        write!(client, "{n}").unwrap();
    }
    for (n, mut client) in clients.into_iter().enumerate() {
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(hear(&mut client), format!("hi {n}"));
    }
    front.wait_until_closed(CloseReason::DONE, 100);
}
