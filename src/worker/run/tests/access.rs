//! What the access log is told.

use crossbeam_channel::Receiver;

use super::*;
use crate::{
    config::{AccessOnly, AccessTarget, Sample},
    worker::{AccessRecord, Arrival, Selection, Tally},
};

/// What one worker's queue gives.
struct Told {
    log: AccessLog,
    queues: Receiver<Receiver<AccessRecord>>,
    queue: Option<Receiver<AccessRecord>>,
}

fn start(only: AccessOnly) -> (Netd, Told) {
    let (log, queues) = AccessLog::new();
    log.set(&config::AccessLog { target: AccessTarget::Stderr, sample: Sample::WHOLE, only });
    (Netd::with(FdBudget::new(20_000, 0), log.clone()), Told { log, queues, queue: None })
}

impl Told {
    fn next(&mut self) -> AccessRecord {
        let queue = self.queue.get_or_insert_with(|| self.queues.recv_timeout(PATIENCE).expect("a queue"));
        queue.recv_timeout(PATIENCE).expect("a record")
    }

    fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.queue.as_ref().is_none_or(Receiver::is_empty)
    }
}

#[test]
fn a_relayed_connection_is_told_of_whole() {
    let address = origin(|mut stream| {
        let mut buffer = [0; 5];
        stream.read_exact(&mut buffer).unwrap();
        stream.write_all(b"goodbye").unwrap();
    });
    let (mut netd, mut told) = start(AccessOnly::All);
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let pool = netd.pool(&[Address::Inet(refusing), Address::Inet(address)], Duration::from_secs(5), 2);
    let front = netd.relay(&pool);
    // Round robin: one of two begins with the endpoint that refuses.
    let mut retries = Vec::new();
    for _ in 0..2 {
        let mut client = front.connect();
        client.write_all(b"hello").unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"goodbye");
        let source = client.local_addr().unwrap();
        drop(client);
        let record = told.next();
        assert_eq!((record.source, record.worker), (Some(source), 3));
        assert_eq!((record.bytes_from_downstream, record.bytes_to_downstream), (5, 7));
        assert_eq!((record.bytes_to_upstream, record.bytes_from_upstream), (5, 7));
        assert_eq!(record.reason, CloseReason::DONE_BY_UPSTREAM);
        assert!(Arc::ptr_eq(&record.listener, &front.spec.counters));
        assert!(record.endpoint.is_some_and(|each| Arc::ptr_eq(&each, &pool.endpoints[1].counters)));
        assert!(record.pool.is_some_and(|each| Arc::ptr_eq(&each, &pool.counters)));
        assert!(record.connect_time.is_some_and(|time| time <= record.until - record.since));
        retries.push(record.retries);
    }
    retries.sort_unstable();
    assert_eq!(retries, [0, 1]);
    assert!(told.is_empty());
}

#[test]
fn a_failed_connect_names_the_endpoint_that_was_tried_last() {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (mut netd, mut told) = start(AccessOnly::Failures);
    let echo = netd.serve(Protocol::Echo);
    drop(echo.connect());
    echo.wait_until_closed(CloseReason::DONE, 1);
    let front = netd.relay_to(refusing);
    expect_reset(&mut front.connect());
    let record = told.next();
    assert_eq!((record.reason, record.retries, record.connect_time), (CloseReason::CONNECT_FAILED, 0, None));
    assert!(record.endpoint.is_some_and(|each| Arc::ptr_eq(&each, &netd.endpoints[0])));
    assert!(told.is_empty(), "what ended well is no failure");
}

#[test]
fn off_and_silent_listeners_tell_nothing() {
    let (mut netd, mut told) = start(AccessOnly::All);
    let mut spec = netd.spec(Protocol::Echo, None, None);
    Arc::make_mut(&mut spec.config).access_log = false;
    let (silent, echo) = (netd.listen(spec), netd.serve(Protocol::Echo));
    drop(silent.connect());
    silent.wait_until_closed(CloseReason::DONE, 1);
    assert!(told.is_empty());
    drop(echo.connect());
    assert!(Arc::ptr_eq(&told.next().listener, &echo.spec.counters));
    told.log.set(&config::AccessLog::OFF);
    drop(echo.connect());
    echo.wait_until_closed(CloseReason::DONE, 2);
    assert!(told.is_empty());
}

/// Its new worker tells of its whole life, its old one nothing.
#[test]
fn a_connection_that_moves_leaves_one_record() {
    let address = origin(|mut stream| {
        let mut buffer = [0; 4];
        while stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&buffer).unwrap();
        }
    });
    let ((mut one, first), (mut other, mut second)) = (start(AccessOnly::All), start(AccessOnly::All));
    let front = one.relay_to(address);
    let mut client = front.connect();
    let exchange = |client: &mut TcpStream| {
        client.write_all(b"ping").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
    };
    exchange(&mut client);
    let selection = Selection::Matching(Filter::default());
    let parcels = one.ask(|reply| Command::Export { selection, limit: 1, reply });
    let trail = parcels[0].trail;
    assert!(trail.attempts == 1 && trail.connect_time.get().is_some());
    let (listener, endpoint) = (Arc::new(ListenerShard::new(CloseReason::ALL.len())), Arc::<EndpointShard>::default());
    other.endpoints.push(endpoint.clone());
    let arrive = |parcel| Arrival {
        parcel,
        listener: Arc::clone(&listener),
        door: None,
        endpoint: Some(Tally { counters: Arc::clone(&endpoint), load: Arc::default() }),
    };
    let arrivals = parcels.into_iter().map(arrive).collect();
    assert!(other.ask(|reply| Command::Import(arrivals, reply)).is_empty());
    exchange(&mut client);
    drop(client);
    let record = second.next();
    assert_eq!((record.bytes_from_downstream, record.bytes_from_upstream, record.retries), (8, 8, 0));
    assert_eq!(record.connect_time, trail.connect_time.get());
    assert!(Arc::ptr_eq(&record.listener, &listener));
    other.wait_until_idle();
    assert!(first.is_empty() && second.is_empty());
    for netd in [&mut one, &mut other] {
        netd.fronts.clear();
        netd.books_of_others = true;
    }
}
