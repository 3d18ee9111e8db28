//! Listening sockets, in chunks that fit a datagram.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{Wrong, wrong};
use crate::{
    control::{ListenerSockets, SocketOrigin},
    handover::codec::FDS,
    pb::handover as pb,
};

/// Most listeners of one message: an address and two names each.
const LISTENERS: usize = 64;

const ORIGINS: [(SocketOrigin, &str); 4] = [
    (SocketOrigin::Own, "own"),
    (SocketOrigin::Kept, "kept"),
    (SocketOrigin::Shared, "shared"),
    (SocketOrigin::Inherited, "inherited"),
];

/// Each message with the file descriptors that go with it.
pub(in super::super) fn chunks(listeners: &[ListenerSockets]) -> Vec<(pb::Sockets, Vec<BorrowedFd<'_>>)> {
    let mut chunks = vec![(pb::Sockets::default(), Vec::new())];
    for listener in listeners {
        for (index, run) in runs(&listener.sockets).enumerate() {
            let full = |(message, fds): &(pb::Sockets, Vec<_>)| {
                fds.len() + run.len() > FDS || message.listeners.len() >= LISTENERS
            };
            if chunks.last().is_none_or(full) {
                chunks.push((pb::Sockets::default(), Vec::new()));
            }
            if let Some((message, fds)) = chunks.last_mut() {
                message.listeners.push(written(listener, index * FDS, run.len()));
                fds.extend(run.iter().map(AsFd::as_fd));
            }
        }
    }
    chunks.retain(|(message, _)| !message.listeners.is_empty());
    chunks
}

/// A listener without sockets is one empty run.
fn runs(sockets: &[OwnedFd]) -> impl Iterator<Item = &[OwnedFd]> {
    (0..sockets.len().div_ceil(FDS).max(1)).map(|index| {
        let first = index * FDS;
        &sockets[first..(first + FDS).min(sockets.len())]
    })
}

fn written(listener: &ListenerSockets, first: usize, count: usize) -> pb::ListenerSockets {
    let origin = ORIGINS.iter().find(|(origin, _)| *origin == listener.origin).map_or("", |(_, word)| word);
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    pb::ListenerSockets {
        name: listener.name.clone(),
        address: listener.address.clone(),
        bound: listener.bound.clone(),
        origin: origin.to_owned(),
        first: small(first),
        count: small(count),
        settings: if first == 0 { listener.settings.clone() } else { String::new() },
    }
}

/// Sockets as they come in.
#[derive(Debug, Default)]
pub(in super::super) struct Gathering {
    pub(in super::super) listeners: Vec<ListenerSockets>,
    pub(in super::super) count: u32,
}

impl Gathering {
    pub(in super::super) fn add(&mut self, message: pb::Sockets, fds: Vec<OwnedFd>) -> Result<(), Wrong> {
        let promised: u64 = message.listeners.iter().map(|each| u64::from(each.count)).sum();
        if promised != fds.len() as u64 {
            return wrong(format!("{} sockets came where {promised} are named", fds.len()));
        }
        let mut fds = fds.into_iter();
        for run in message.listeners {
            let sockets: Vec<OwnedFd> = fds.by_ref().take(run.count as usize).collect();
            self.count = self.count.saturating_add(run.count);
            self.add_run(run, sockets)?;
        }
        Ok(())
    }

    fn add_run(&mut self, run: pb::ListenerSockets, sockets: Vec<OwnedFd>) -> Result<(), Wrong> {
        let known = self.listeners.iter_mut().find(|each| each.name == run.name && each.bound == run.bound);
        match known {
            Some(listener) if listener.sockets.len() == run.first as usize => listener.sockets.extend(sockets),
            None if run.first == 0 => {
                let Some((origin, _)) = ORIGINS.iter().find(|(_, word)| *word == run.origin) else {
                    return wrong(format!("listener/{}: no origin of sockets: `{}`", run.name, run.origin));
                };
                let pb::ListenerSockets { name, address, bound, settings, .. } = run;
                self.listeners.push(ListenerSockets { name, address, bound, settings, origin: *origin, sockets });
            }
            _ => return wrong(format!("listener/{}: sockets out of order", run.name)),
        }
        Ok(())
    }
}
