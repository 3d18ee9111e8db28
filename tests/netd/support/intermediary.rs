//! Between a netd and its successor: sees every message, can change them, and
//! knows both processes.
//!
//! The new binary is started as a shell script that hands its channel to the
//! test before it becomes netd, so that its process id stays.

use std::{
    fs,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{fs::PermissionsExt, net::UnixListener, net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use netd::{
    pb::handover::Envelope,
    sys::{
        channel::{self, Interest},
        process::take_inherited,
        spawn,
    },
};
use nix::sys::socket::{Shutdown, getsockopt, shutdown, sockopt::PeerCredentials};
use prost::Message;

use super::{clock::eventually, proc::Process};

const SOCKET: &str = "NETD_TEST_INTERMEDIARY";
const PROGRAM: &str = "NETD_TEST_PROGRAM";
const ARGUMENTS: &str = "NETD_TEST_ARGUMENTS";
/// Between two looks whether the test is over.
const LOOK: Duration = Duration::from_millis(50);
/// What the largest datagram of the protocol fits.
const DATAGRAM: usize = 80 * 1024;

/// A side of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Old,
    New,
}

/// Looks at a message in hand, before it is passed on.
pub(crate) type Look = Box<dyn FnMut(&Wire, Side, &mut Envelope) + Send>;

/// Waits for a successor.
#[derive(Debug)]
pub(crate) struct Intermediary {
    listener: UnixListener,
    binary: PathBuf,
}

/// Both ends, and the new process.
#[derive(Debug)]
pub(crate) struct Wire {
    old: OwnedFd,
    new: OwnedFd,
    pub(crate) successor: Process,
    over: AtomicBool,
}

impl Intermediary {
    /// `test`: the name of the test that calls [`become_successor`].
    pub(crate) fn at(directory: &Path, test: &str) -> Self {
        let (socket, binary) = (directory.join("intermediary.sock"), directory.join("successor"));
        let listener = UnixListener::bind(&socket).expect("a socket for the successor");
        listener.set_nonblocking(true).expect("a socket");
        let own = std::env::current_exe().expect("the tests' own program");
        let script = format!(
            "#!/bin/sh\n{SOCKET}='{}' {PROGRAM}='{}' {ARGUMENTS}=\"$*\" exec '{}' --exact {test} --ignored --nocapture\n",
            socket.display(),
            env!("CARGO_BIN_EXE_netd"),
            own.display()
        );
        fs::write(&binary, script).expect("a file to write");
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).expect("permissions");
        Self { listener, binary }
    }

    /// To be started as the new binary.
    pub(crate) fn binary(&self) -> &str {
        self.binary.to_str().expect("UTF-8")
    }

    /// Waits for the successor and passes on from then on.
    #[track_caller]
    pub(crate) fn pass_on(&self, look: Look) -> Arc<Wire> {
        let (stream, _) = eventually("the successor comes", || self.listener.accept().ok());
        stream.set_nonblocking(false).expect("a socket");
        let pid = getsockopt(&stream, PeerCredentials).expect("its process id").pid();
        let old = channel::receive(stream.as_fd(), &mut [0; 1]).expect("its channel").fds.remove(0);
        let (new, theirs) = channel::pair().expect("a channel");
        channel::send(stream.as_fd(), b"!", &[theirs.as_fd()]).expect("a successor that waits");
        drop(theirs);
        let wire = Arc::new(Wire { old, new, successor: Process(pid), over: AtomicBool::new(false) });
        let look = Arc::new(Mutex::new(look));
        for side in [Side::Old, Side::New] {
            let (wire, look) = (Arc::clone(&wire), Arc::clone(&look));
            thread::spawn(move || wire.pass(side, &look));
        }
        wire
    }
}

impl Wire {
    fn end(&self, side: Side) -> BorrowedFd<'_> {
        match side {
            Side::Old => self.old.as_fd(),
            Side::New => self.new.as_fd(),
        }
    }

    fn other(&self, side: Side) -> BorrowedFd<'_> {
        self.end(if side == Side::Old { Side::New } else { Side::Old })
    }

    /// Sends bytes in the name of a side.
    pub(crate) fn forge(&self, from: Side, bytes: &[u8]) {
        // Whoever it is meant for may be gone.
        let _ = channel::send(self.other(from), bytes, &[]);
    }

    /// No message is passed on any more.
    pub(crate) fn end_it(&self) {
        self.over.store(true, Ordering::Release);
    }

    fn pass(&self, from: Side, look: &Mutex<Look>) {
        let mut buffer = vec![0; DATAGRAM];
        while !self.over.load(Ordering::Acquire) {
            if !channel::wait(self.end(from), Interest::Read, LOOK).unwrap_or(true) {
                continue;
            }
            let datagram = match channel::receive(self.end(from), &mut buffer) {
                Ok(datagram) if datagram.length > 0 => datagram,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Ok(_) | Err(_) => break,
            };
            let mut envelope = Envelope::decode(&buffer[..datagram.length]).expect("a message of the protocol");
            look.lock().expect("no panic")(self, from, &mut envelope);
            let bytes = envelope.encode_to_vec();
            let fds: Vec<BorrowedFd<'_>> = datagram.fds.iter().map(AsFd::as_fd).collect();
            while let Err(error) = channel::send(self.other(from), &bytes, &fds) {
                if error.kind() == std::io::ErrorKind::BrokenPipe || self.over.load(Ordering::Acquire) {
                    break;
                }
                super::clock::pause(Duration::from_millis(1));
            }
        }
        let _ = shutdown(std::os::fd::AsRawFd::as_raw_fd(&self.other(from)), Shutdown::Both);
    }
}

/// What the script runs: hands the channel over and becomes netd. Does nothing
/// where nobody waits.
#[expect(clippy::disallowed_methods, reason = "a program that becomes another has nothing but its environment")]
pub(crate) fn become_successor() {
    let Ok(socket) = std::env::var(SOCKET) else { return };
    let variable = |name: &str| std::env::var(name).expect("set by the script");
    let number = variable("NETD_UPGRADE_FD").parse().expect("a number");
    let channel = take_inherited(number).expect("the channel");
    let stream = UnixStream::connect(socket).expect("a test that waits");
    channel::send(stream.as_fd(), b"!", &[channel.as_fd()]).expect("a test that waits");
    let other = channel::receive(stream.as_fd(), &mut [0; 1]).expect("another channel").fds.remove(0);
    drop((channel, stream));
    let mut command = Command::new(variable(PROGRAM));
    command.args(variable(ARGUMENTS).split_whitespace());
    for name in [SOCKET, PROGRAM, ARGUMENTS] {
        command.env_remove(name);
    }
    let number = spawn::hand_down(&mut command, other);
    panic!("{}", command.env("NETD_UPGRADE_FD", number.to_string()).exec());
}
