use std::{io::Write, os::unix::net::UnixStream, thread};

use super::*;

#[derive(Default)]
struct Recorder {
    socket: Option<UnixStream>,
    seen: Vec<String>,
}

impl Handler for Recorder {
    type Message = &'static str;

    fn on_ready(&mut self, token: usize, ready: Ready, turn: &mut Turn<'_>) {
        if ready.readable {
            self.seen.push(format!("readable {token} closed {}", ready.read_closed));
            turn.arm(turn.now + Duration::from_millis(20), 7);
        }
    }

    fn on_queued(&mut self, token: usize, _: &mut Turn<'_>) {
        self.seen.push(format!("queued {token}"));
    }

    fn on_timer(&mut self, token: usize, turn: &mut Turn<'_>) {
        self.seen.push(format!("timer {token}"));
        turn.enqueue(8);
    }

    fn on_message(&mut self, message: &'static str, turn: &mut Turn<'_>) {
        self.seen.push(message.to_owned());
        if let Some(socket) = &self.socket {
            socket.set_nonblocking(true).unwrap();
            turn.watch(socket, 42).unwrap();
        }
    }

    fn on_turn_end(&mut self, _: usize, _: Duration, _: &mut Turn<'_>) {}

    fn is_done(&self) -> bool {
        self.seen.last().is_some_and(|last| last == "queued 8")
    }
}

/// What a loop that looks for so long sees of a message and a byte.
fn told_and_written(look: Duration) -> Vec<String> {
    let (mut reactor, sender) = Reactor::new(4).unwrap();
    reactor.look_before_sleep(look);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let writer = thread::spawn(move || {
        sender.send("hello").unwrap();
        theirs.write_all(b"x").unwrap();
    });
    let mut recorder = Recorder { socket: Some(ours), seen: Vec::new() };
    reactor.run(&mut recorder).unwrap();
    writer.join().unwrap();
    recorder.seen
}

#[test]
fn a_message_an_edge_a_timer_and_the_queue_whether_it_looks_before_it_sleeps_or_not() {
    for look in [Duration::ZERO, Duration::from_micros(200)] {
        let seen = told_and_written(look);
        assert_eq!(seen.first().unwrap(), "hello");
        assert!(seen.iter().any(|each| each.starts_with("readable 42")));
        // The peer's end is an edge of its own: it may arm a second timer, and come in between.
        let timer = seen.iter().position(|each| each == "timer 7").unwrap();
        assert!(seen[timer..].contains(&"queued 8".to_owned()));
    }
}

#[test]
fn the_mailbox_is_bounded() {
    let (reactor, sender) = Reactor::new(2).unwrap();
    assert_eq!(sender.send(1), Ok(()));
    assert_eq!(sender.send(2), Ok(()));
    assert_eq!(sender.send(3), Err(SendError::Full));
    drop(reactor);
    assert_eq!(sender.send(4), Err(SendError::Gone));
}

/// Arms a timer that is soon after one that is late, and another one whenever
/// one fires.
#[derive(Default)]
struct Chain {
    fired: Vec<usize>,
}

impl Handler for Chain {
    type Message = ();

    fn on_ready(&mut self, _: usize, _: Ready, _: &mut Turn<'_>) {}

    fn on_queued(&mut self, _: usize, _: &mut Turn<'_>) {}

    fn on_timer(&mut self, token: usize, turn: &mut Turn<'_>) {
        self.fired.push(token);
        turn.arm(turn.now + Duration::from_millis(5), token + 1);
    }

    fn on_message(&mut self, (): (), turn: &mut Turn<'_>) {
        turn.arm(turn.now + Duration::from_secs(3600), 100);
        turn.arm(turn.now + Duration::from_millis(50), 0);
        let cancelled = turn.arm(turn.now + Duration::from_millis(10), 200);
        turn.cancel(cancelled);
    }

    fn on_turn_end(&mut self, _: usize, _: Duration, _: &mut Turn<'_>) {}

    fn is_done(&self) -> bool {
        self.fired.len() == 5
    }
}

#[test]
fn timers_fire_one_after_the_other_while_nothing_else_happens() {
    let (mut reactor, sender) = Reactor::new(4).unwrap();
    sender.send(()).unwrap();
    let mut chain = Chain::default();
    reactor.run(&mut chain).unwrap();
    assert_eq!(chain.fired, [0, 1, 2, 3, 4]);
}

/// Watches a socket that is ready once, and is done half a second later.
#[derive(Default)]
struct Once {
    socket: Option<UnixStream>,
    ready: usize,
    /// Turns that nothing was ready in, after one that something was.
    idle: usize,
    done: bool,
}

impl Handler for Once {
    type Message = ();

    fn on_ready(&mut self, _: usize, _: Ready, _: &mut Turn<'_>) {
        self.ready += 1;
    }

    fn on_queued(&mut self, _: usize, _: &mut Turn<'_>) {}

    fn on_timer(&mut self, _: usize, _: &mut Turn<'_>) {
        self.done = true;
    }

    fn on_message(&mut self, (): (), turn: &mut Turn<'_>) {
        turn.watch(self.socket.as_ref().unwrap(), 42).unwrap();
        turn.arm(turn.now + Duration::from_millis(500), 0);
    }

    fn on_turn_end(&mut self, events: usize, _: Duration, _: &mut Turn<'_>) {
        self.idle += usize::from(self.ready > 0 && events == 0 && !self.done);
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

#[test]
fn the_pulse_goes_on_while_sockets_become_ready_and_no_longer() {
    let (mut reactor, sender) = Reactor::new(4).unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let mut once = Once { socket: Some(ours), ..Once::default() };
    sender.send(()).unwrap();
    reactor.run(&mut once).unwrap();
    assert_eq!(once.ready, 1, "it has room");
    // The wheel may need a turn or two until the timer is due.
    assert!((1..5).contains(&once.idle), "{} turns in {:?}", once.idle, PULSE);
}
