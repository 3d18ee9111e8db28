//! The origin: a process of its own with an echo server and a server for bulk,
//! which can echo, too, where a workload has both.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::AsRawFd,
    process::{Child, Command, Stdio},
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use serde::{Deserialize, Serialize};

use crate::{
    Role, echo,
    pump::{CHUNK, Flow, Pump},
};

/// Where an origin accepts.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) echo: SocketAddr,
    pub(crate) bulk: SocketAddr,
}

/// The process, from its parent's side. It ends when this is dropped.
pub(crate) struct Origin {
    child: Child,
    pub(crate) at: Addresses,
}

impl Origin {
    pub(crate) fn start() -> io::Result<Self> {
        let mut child = Role::Origin.command()?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let output = child.stdout.as_mut().expect("its output is a pipe");
        io::BufRead::read_line(&mut io::BufReader::new(output), &mut line)?;
        Ok(Self { child, at: serde_json::from_str(&line)? })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process itself: tells where it accepts and serves until its standard
/// input ends.
pub(crate) fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addresses = Addresses { echo: echo::echo()?, bulk: listener.local_addr()? };
    println!("{}", serde_json::to_string(&addresses)?);
    listener.set_nonblocking(true)?;
    let poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&listener.as_raw_fd()), LISTENER, Interest::READABLE)?;
    poll.registry().register(&mut SourceFd(&io::stdin().as_raw_fd()), INPUT, Interest::READABLE)?;
    Bulk { poll, listener, pumps: HashMap::new(), next: INPUT.0 + 1, buffer: vec![0; CHUNK] }.run()
}

const LISTENER: Token = Token(0);
const INPUT: Token = Token(1);

struct Bulk {
    poll: Poll,
    listener: TcpListener,
    /// With the flow, once the client has named it.
    pumps: HashMap<usize, (Pump, Option<Flow>)>,
    next: usize,
    buffer: Vec<u8>,
}

impl Bulk {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        loop {
            let is_busy = self.pumps.values().any(|(pump, _)| pump.is_ready());
            match self.poll.poll(&mut events, is_busy.then_some(Duration::ZERO)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    INPUT => return Ok(()),
                    Token(key) => self.pumps.get_mut(&key).into_iter().for_each(|(pump, _)| pump.note(event)),
                }
            }
            let buffer = &mut self.buffer;
            self.pumps.retain(|_, (pump, flow)| !pump.is_ready() || advance(pump, flow, buffer).is_ok());
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), Token(self.next), interest)?;
            self.pumps.insert(self.next, (Pump::new(stream, false), None));
            self.next += 1;
        }
        Ok(())
    }
}

fn advance(pump: &mut Pump, flow: &mut Option<Flow>, buffer: &mut [u8]) -> io::Result<()> {
    match flow {
        Some(Flow::Echo) => pump.echo(buffer),
        Some(_) => pump.turn(buffer).map(drop),
        None => {
            let taken = pump.take(buffer)?;
            *flow = buffer[..taken].first().and_then(|&byte| Flow::of(byte));
            pump.starts_to_send(matches!(flow, Some(Flow::Down | Flow::Both)));
            match flow {
                Some(Flow::Echo) => pump.stream.write_all(&buffer[..taken]),
                _ => Ok(()),
            }
        }
    }
}

impl Role {
    /// This program once more, in another role.
    pub(crate) fn command(&self) -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--role").arg(serde_json::to_string(self)?);
        Ok(command)
    }
}
