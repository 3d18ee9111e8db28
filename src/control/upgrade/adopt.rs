//! Listening sockets of a predecessor: matched with this process's
//! configuration, dealt out over its workers.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::sockets::{Faults, Inherited, Opened, Sockets, file_of},
    types::{ListenerSockets, SocketOrigin},
};
use crate::{
    config::{self, Address, Config, Listener, Pool},
    listen::{self, Duplicate, Kept, ListenSocket, Origin},
};

/// A predecessor's listening sockets, sorted out.
#[derive(Debug, Default)]
pub(in crate::control) struct Adoption {
    /// What this process serves at first: its configuration, and listeners
    /// that are gone from it, which it then removes as a reload does.
    pub(in crate::control) first: Option<Arc<Config>>,
    /// Sockets for that.
    pub(in crate::control) adopted: BTreeMap<String, Opened>,
    /// Sockets for what the configuration has beside or instead.
    pub(in crate::control) opened: BTreeMap<String, Opened>,
}

impl Drop for Adoption {
    /// What was not taken on is the predecessor's: it goes on listening, and
    /// its files stay.
    fn drop(&mut self) {
        let sockets = self.adopted.values_mut().flat_map(|opened| opened.bound.sockets.iter_mut());
        sockets.for_each(ListenSocket::give_away);
    }
}

/// The predecessor's listener with its pool.
struct Former {
    listener: Arc<Listener>,
    pools: Vec<Arc<Pool>>,
}

impl Sockets {
    /// Adopts what a predecessor had; binds what is new. `serves`: whether a
    /// listener of the configuration is to accept.
    pub(in crate::control) fn take_over(
        &mut self,
        given: Vec<ListenerSockets>,
        config: &Arc<Config>,
        serves: impl Fn(&str) -> bool,
    ) -> Result<Adoption, Faults> {
        let (mut adoption, mut faults) = (Adoption::default(), Vec::new());
        let mut first = Config::clone(config);
        let ours: Vec<Address> = given.iter().filter_map(|each| each.address.parse().ok()).collect();
        let mut served = Vec::new();
        for mut each in given {
            let matching = wanted(&each, config);
            let name = matching.map_or_else(|| each.name.clone(), |listener| listener.name.clone());
            let former = former(&each);
            let outcome = match (matching, former) {
                (Some(listener), former) => {
                    served.push(name.clone());
                    adapt(listener, former.as_ref()).and_then(|()| self.adopt_given(&mut each, listener, serves(&name)))
                }
                (None, Some(former)) => {
                    let listener = Arc::clone(&former.listener);
                    keep_for_now(&mut first, former);
                    self.adopt_given(&mut each, &listener, true)
                }
                (None, None) => {
                    tracing::warn!(
                        listener = each.name,
                        "its sockets are closed: it is gone from the configuration, and how to serve it is not known"
                    );
                    Ok(None)
                }
            };
            match outcome {
                Ok(Some(opened)) => drop(adoption.adopted.insert(name, opened)),
                Ok(None) => {}
                Err(error) => faults.push((name, error)),
            }
        }
        let new = config.listeners.iter().filter(|each| serves(&each.name) && !served.contains(&each.name));
        match self.open(new, &ours) {
            Ok(opened) => adoption.opened = opened,
            Err(Faults(more)) => faults.extend(more),
        }
        adoption.first = Some(Arc::new(first));
        if faults.is_empty() { Ok(adoption) } else { Err(Faults(faults)) }
    }

    /// `None`: the listener does not accept now.
    fn adopt_given(
        &mut self,
        given: &mut ListenerSockets,
        listener: &Arc<Listener>,
        serves: bool,
    ) -> Result<Option<Opened>, String> {
        let fds = std::mem::take(&mut given.sockets);
        match given.origin {
            SocketOrigin::Inherited => {
                let inherited = Inherited { address: listener.address.clone(), fds };
                self.inherited.insert(listener.name.clone(), inherited);
                if serves { self.open_inherited(listener).map(Some) } else { Ok(None) }
            }
            SocketOrigin::Kept if !fds.iter().all(listen::is_listening) => {
                let kept = Kept::of(fds, given.bound.clone());
                let bound = serves.then(|| kept.listen(listener.backlog)).transpose();
                self.kept.insert(listener.address.clone(), kept);
                let bound = bound.map_err(|error| error.to_string())?;
                Ok(bound.map(|bound| Opened { bound, inherited: false }))
            }
            _ if !serves => Ok(None),
            origin => {
                let origin = match origin {
                    SocketOrigin::Kept => Origin::Kept,
                    SocketOrigin::Shared => Origin::Shared,
                    SocketOrigin::Own | SocketOrigin::Inherited => Origin::Own,
                };
                let given = fds.into_iter().map(|fd| Duplicate { fd, origin }).collect();
                let mut bound = listen::resume(given, file_of(listener)).map_err(|error| error.to_string())?;
                if origin == Origin::Own {
                    let missing = self.workers.saturating_sub(bound.sockets.len());
                    if missing > 0
                        && let Some(more) = self.more(listener, &bound.local, missing)
                    {
                        bound.sockets.extend(more);
                    }
                }
                if origin == Origin::Kept {
                    match bound.keep() {
                        Ok(kept) => drop(self.kept.insert(listener.address.clone(), kept)),
                        Err(error) => {
                            bound.sockets.iter_mut().for_each(ListenSocket::give_away);
                            return Err(format!("no duplicate of its socket: {error}"));
                        }
                    }
                }
                for socket in &bound.sockets {
                    socket.set_backlog(listener.backlog);
                }
                Ok(Some(Opened { bound, inherited: false }))
            }
        }
    }
}

/// The listener that goes on with these sockets: by name and address, else by
/// address alone.
fn wanted<'a>(given: &ListenerSockets, config: &'a Config) -> Option<&'a Arc<Listener>> {
    let same = |listener: &&Arc<Listener>| listener.address.to_string() == given.address;
    let named = config.listeners.iter().find(|each| each.name == given.name && same(each));
    // A port that the kernel chooses is another one each time.
    let chosen = named.is_none() && given.address.ends_with(":0");
    named.or_else(|| config.listeners.iter().find(|each| !chosen && same(each)))
}

fn former(given: &ListenerSockets) -> Option<Former> {
    let config = config::parse("predecessor", &given.settings, &|_| None).ok()?;
    let listener = Arc::clone(config.listeners.iter().find(|each| each.name == given.name)?);
    let pools = listener.protocol.pools().iter().filter_map(|share| config.pool(&share.name));
    Some(Former { pools: pools.cloned().collect(), listener })
}

/// What an open socket cannot take on.
fn adapt(listener: &Listener, former: Option<&Former>) -> Result<(), String> {
    let Some(Former { listener: former, .. }) = former else { return Ok(()) };
    let same = former.v6only == listener.v6only && former.mode == listener.mode;
    if same { Ok(()) } else { Err("v6only or mode has changed: reload first, then upgrade".to_owned()) }
}

/// Serves a listener that is gone from the configuration, in place of one of
/// the same name if there is one.
fn keep_for_now(config: &mut Config, former: Former) {
    let Former { listener, pools } = former;
    for pool in pools {
        if config.pool(&pool.name).is_none() {
            config.pools.push(pool);
        }
    }
    config.listeners.retain(|each| each.name != listener.name);
    config.listeners.push(listener);
}
