//! Duplicates of all listening sockets, for a successor.

use std::{collections::BTreeMap, io, sync::Arc};

use super::{
    super::{
        connections::answer,
        controller::Controller,
        gather::{Gather, workers_named},
        port::WorkerPort,
        request::{Refusal, Reply},
    },
    types::{ListenerSockets, SocketOrigin},
};
use crate::{
    config::{Config, Listener},
    listen::{Duplicate, Origin, distinct},
};

type Duplicates = (String, io::Result<Vec<Duplicate>>);

impl<P: WorkerPort> Controller<P> {
    pub(super) fn lend_sockets(&mut self, reply: Reply<Vec<ListenerSockets>>) {
        let gather = self.fleet.duplicates();
        self.after(gather, move |controller, mut gather: Gather<Duplicates>| {
            let silent = gather.silent();
            gather.answers.sort_by_key(|(worker, _)| *worker);
            let outcome = match silent.is_empty() {
                true => controller.sockets_by_name(gather.answers.into_iter().map(|(_, answer)| answer)),
                false => Err(Refusal::Timeout(format!("{} did not answer in time", workers_named(&silent)))),
            };
            answer(reply, outcome);
        });
    }

    fn sockets_by_name(&self, answers: impl Iterator<Item = Duplicates>) -> Result<Vec<ListenerSockets>, Refusal> {
        let mut all: BTreeMap<String, Vec<Duplicate>> = BTreeMap::new();
        for (name, duplicates) in answers {
            let failed =
                |error| Refusal::Precondition(format!("no duplicate of a socket of listener `{name}`: {error}"));
            all.entry(name.clone()).or_default().extend(duplicates.map_err(failed)?);
        }
        let told = self.fleet.told();
        let mut lent = Vec::with_capacity(all.len());
        for (name, duplicates) in all {
            let Some(listener) = told.listeners.get(&name) else { continue };
            let origin = match duplicates.first().map(|each| each.origin) {
                Some(Origin::Own) => SocketOrigin::Own,
                Some(Origin::Kept) => SocketOrigin::Kept,
                Some(Origin::Shared) => SocketOrigin::Shared,
                Some(Origin::Inherited) => SocketOrigin::Inherited,
                None => continue,
            };
            let failed = |error| Refusal::Precondition(format!("sockets of listener `{name}`: {error}"));
            let sockets = distinct(duplicates).map_err(failed)?;
            lent.push(self.lent(&listener.config, &listener.bound, origin, sockets.into_iter().map(|each| each.fd)));
        }
        self.lend_idle(&mut lent)?;
        Ok(lent)
    }

    /// Sockets that are kept for listeners that do not accept now.
    fn lend_idle(&self, lent: &mut Vec<ListenerSockets>) -> Result<(), Refusal> {
        for listener in &self.state.config().listeners {
            if lent.iter().any(|each| each.name == listener.name) {
                continue;
            }
            let failed = |error| Refusal::Precondition(format!("sockets of listener `{}`: {error}", listener.name));
            let (origin, fds) =
                match (self.sockets.inherited.get(&listener.name), self.sockets.kept.get(&listener.address)) {
                    (Some(inherited), _) if inherited.address == listener.address => {
                        let fds: io::Result<Vec<_>> = inherited.fds.iter().map(|fd| fd.try_clone()).collect();
                        (SocketOrigin::Inherited, fds.map_err(failed)?)
                    }
                    (_, Some(kept)) => (SocketOrigin::Kept, kept.duplicates().map_err(failed)?),
                    _ => continue,
                };
            let bound = listener.address.to_string();
            lent.push(self.lent(listener, &bound, origin, fds.into_iter()));
        }
        Ok(())
    }

    fn lent(
        &self,
        listener: &Arc<Listener>,
        bound: &str,
        origin: SocketOrigin,
        sockets: impl Iterator<Item = std::os::fd::OwnedFd>,
    ) -> ListenerSockets {
        let config = self.state.config();
        let pool = listener.protocol.pool().and_then(|name| config.pool(name));
        let alone = Config {
            listeners: vec![Arc::clone(listener)],
            pools: pool.into_iter().cloned().collect(),
            ..Config::clone(config)
        };
        ListenerSockets {
            name: listener.name.clone(),
            address: listener.address.to_string(),
            bound: bound.to_owned(),
            settings: alone.to_toml(),
            origin,
            sockets: sockets.collect(),
        }
    }
}
