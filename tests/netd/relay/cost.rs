//! What a relayed request and a relayed connection cost in system calls. A
//! count is the same on any machine, so it may be asserted.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{Client, Daemon, End, Origin, Setup, clock::now};

const TIMES: u64 = 300;
const TIMER: &str = "timerfd_settime";
/// A worker with traffic sets its timer so far ahead.
const PULSE: Duration = Duration::from_millis(10);
/// Answers to heartbeats and the like, during the whole test.
const SLACK: u64 = 30;

/// A relay with one worker.
fn relay(origin: &Origin) -> Daemon {
    relay_with(origin, "", "")
}

fn relay_with(origin: &Origin, listener: &str, pool: &str) -> Daemon {
    Setup::config(&format!(
        r#"
        [[listener]]
        name = "front"
        address = "127.0.0.1:0"
        protocol = "tcp"
        pool = "back"
        {listener}
        [[pool]]
        name = "back"
        endpoints = ["{}"]
        {pool}
        "#,
        origin.address
    ))
    .args(&["--workers", "1"])
    .start()
}

/// System calls of the daemon's worker while `work` is done; `None` without
/// strace. The timer's are counted by time and not by what is done, so they are
/// judged here.
fn count(daemon: &Daemon, work: impl FnOnce()) -> Option<BTreeMap<String, u64>> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.process.0)).expect("threads");
    let worker = tasks
        .map(|task| task.expect("a thread").path())
        .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "netd-w0"))
        .expect("a worker");
    let id = worker.file_name().and_then(|name| name.to_str()).expect("a number").to_owned();
    let table = daemon.path("strace");
    let strace = Command::new("strace")
        .args(["-c", "-p", &id, "-o"])
        .arg(&table)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut strace) = strace else {
        eprintln!("skipped: strace is not installed");
        return None;
    };
    let mut said = String::new();
    let mut stderr = BufReader::new(strace.stderr.take().expect("a pipe"));
    stderr.read_line(&mut said).expect("a line");
    if !said.contains("attached") {
        eprintln!("skipped: {said}");
        let _ = strace.wait();
        return None;
    }
    let began = now();
    work();
    kill(Pid::from_raw(i32::try_from(strace.id()).expect("a pid")), Signal::SIGINT).expect("a signal to send");
    strace.wait().expect("its end");
    let table = fs::read_to_string(table).expect("its table");
    let rows = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some((words.last()?.to_string(), words.get(3)?.parse().ok()?))
    });
    let mut counts: BTreeMap<String, u64> = rows.filter(|(name, _)| name != "total").collect();
    // Debug builds of the standard library look whether what they close is open.
    counts.remove("fcntl");
    let pulses = (now() - began).div_duration_f64(PULSE) as u64;
    let set = of(&counts, TIMER);
    assert!(set <= pulses + SLACK, "the timer was set {set} times in {pulses} pulses");
    Some(counts)
}

/// All of them, without waits and the timer.
fn besides_waiting(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum::<u64>() - of(counts, "epoll_wait") - of(counts, TIMER)
}

fn of(counts: &BTreeMap<String, u64>, name: &str) -> u64 {
    counts.get(name).copied().unwrap_or(0)
}

#[test]
fn a_request_and_its_answer_take_two_reads_and_two_writes() {
    let origin = Origin::echoing();
    let daemon = relay(&origin);
    let mut client = daemon.connect("front");
    client.echo(b"before");
    let work = || (0..TIMES).for_each(|_| client.echo(&[7; 64]));
    let Some(counts) = count(&daemon, work) else { return };
    assert_eq!(of(&counts, "sendto"), 2 * TIMES, "{counts:?}");
    assert_eq!(of(&counts, "recvfrom"), 2 * TIMES, "no read finds nothing: {counts:?}");
    // Once more whenever the timer rings.
    assert!(of(&counts, "epoll_wait") <= 2 * TIMES + of(&counts, TIMER) + SLACK, "{counts:?}");
    assert!(besides_waiting(&counts) - 4 * TIMES <= SLACK, "nothing else: {counts:?}");
}

/// One after the other: each finds its listener's queue empty behind it, which
/// takes an accept4(2) more than when several come at once.
#[test]
fn a_connection_with_one_exchange_takes_sixteen_besides_waiting() {
    let origin = Origin::echoing();
    let daemon = relay(&origin);
    let address = daemon.address("front");
    let work = || {
        for _ in 0..TIMES {
            let mut client = Client::connect(address);
            client.echo(&[7; 64]);
            client.finish();
            assert_eq!(client.rest(), (Vec::new(), End::Eof));
        }
    };
    let Some(counts) = count(&daemon, work) else { return };
    let limits = [
        ("accept4", 2),
        ("socket", 1),
        ("connect", 1),
        // It saves a segment: the handshake's last one goes with the request.
        ("setsockopt", 1),
        ("epoll_ctl", 2),
        ("recvfrom", 4),
        ("sendto", 2),
        ("shutdown", 1),
        ("close", 2),
    ];
    for (name, limit) in limits {
        assert!(of(&counts, name) <= limit * TIMES + SLACK, "{name}: {counts:?}");
    }
    // How often it waits depends on what comes together.
    let total = besides_waiting(&counts);
    assert!(total <= 16 * TIMES + SLACK, "{total} for {TIMES} connections: {counts:?}");
}

#[test]
fn options_and_headers_cost_what_they_must() {
    let origin = Origin::echoing();
    let listener = "[listener.tcp]\nkeepalive_idle = \"60s\"\nuser_timeout = \"30s\"\ndscp = 10";
    let daemon = relay_with(&origin, listener, "send_proxy = \"v2\"\n[pool.tcp]\nuser_timeout = \"30s\"");
    let address = daemon.address("front");
    const HEADER: usize = 28;
    let work = || {
        for _ in 0..TIMES {
            let mut client = Client::connect(address);
            client.send(&[7; 64]);
            assert_eq!(client.receive(HEADER + 64)[HEADER..], [7; 64], "the origin echoes the header as well");
            client.finish();
            assert_eq!(client.rest(), (Vec::new(), End::Eof));
        }
    };
    let Some(counts) = count(&daemon, work) else { return };
    // Accepted sockets inherit; one to an endpoint is told its one option, and
    // TCP_NODELAY before the second write if the header went alone.
    assert!(of(&counts, "setsockopt") <= 2 * TIMES + SLACK, "{counts:?}");
    assert!(of(&counts, "getsockname") <= TIMES + SLACK, "{counts:?}");
    let total = besides_waiting(&counts);
    // Of the fifteen without: the header's own write, its echo's read and write.
    assert!(total <= (15 + 3 + 3) * TIMES + SLACK, "{total} for {TIMES} connections: {counts:?}");
}
