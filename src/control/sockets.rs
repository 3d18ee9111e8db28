//! Listening sockets: bound or adopted before anything else is changed.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::request::Refusal;
use crate::{
    config::{Address, Listener},
    listen::{self, BindAddress, BindOptions, Bound, Duplicate, Kept, ListenSocket, Origin},
    worker,
};

/// How sockets are made; tests put their own in its place.
pub trait Binder: Send {
    /// As [`listen::bind`].
    ///
    /// # Errors
    /// What the system says.
    fn bind(&self, options: &BindOptions, workers: usize) -> io::Result<Bound>;

    /// As [`listen::adopt`].
    ///
    /// # Errors
    /// If it is no listening stream socket.
    fn adopt(&self, fd: OwnedFd, workers: usize) -> io::Result<Bound>;
}

/// Asks the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemBinder;

impl Binder for SystemBinder {
    fn bind(&self, options: &BindOptions, workers: usize) -> io::Result<Bound> {
        listen::bind(options, workers)
    }

    fn adopt(&self, fd: OwnedFd, workers: usize) -> io::Result<Bound> {
        listen::adopt(fd, workers)
    }
}

/// Listeners that cannot have their sockets, each with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Faults(pub(super) Vec<(String, String)>);

impl From<Faults> for Refusal {
    fn from(faults: Faults) -> Self {
        let lines: Vec<String> =
            faults.0.into_iter().map(|(name, error)| format!("listener `{name}`: {error}")).collect();
        Self::Precondition(lines.join("\n"))
    }
}

/// One listener's new sockets.
#[derive(Debug)]
pub(super) struct Opened {
    /// To be dealt out over the workers.
    pub(super) bound: Bound,
    /// They came from systemd.
    pub(super) inherited: bool,
}

/// Opens sockets, and keeps those that systemd made, so that a listener that
/// was stopped can be started again.
pub(super) struct Sockets {
    pub(super) binder: Box<dyn Binder>,
    pub(super) inherited: HashMap<String, Inherited>,
    /// Sockets on addresses that only a start can bind, by their address.
    pub(super) kept: HashMap<Address, Kept>,
    /// Sockets that have outlived an earlier netd, by listener.
    pub(super) outlived: HashMap<String, Vec<OwnedFd>>,
    /// The user and group that netd becomes, if it does.
    owner: Option<(u32, u32)>,
    pub(super) workers: usize,
}

pub(super) struct Inherited {
    /// What the file said when the socket was matched: another address asks
    /// for another socket.
    pub(super) address: Address,
    pub(super) fds: Vec<OwnedFd>,
}

impl Sockets {
    /// Keeps the sockets of `inherited` that belong to one of `listeners`.
    pub(super) fn new(
        binder: Box<dyn Binder>,
        mut inherited: HashMap<String, Vec<OwnedFd>>,
        listeners: &[Arc<Listener>],
        workers: usize,
        owner: Option<(u32, u32)>,
    ) -> Self {
        let matched = listeners.iter().filter_map(|listener| {
            let fds = inherited.remove(&listener.name).filter(|fds| !fds.is_empty())?;
            Some((listener.name.clone(), Inherited { address: listener.address.clone(), fds }))
        });
        let inherited = matched.collect();
        Self { binder, inherited, kept: HashMap::new(), outlived: HashMap::new(), owner, workers }
    }

    /// Opens sockets for all of `listeners`, or for none; `ours`: where netd
    /// listens already.
    pub(super) fn open<'a>(
        &mut self,
        listeners: impl Iterator<Item = &'a Arc<Listener>>,
        ours: &[Address],
    ) -> Result<BTreeMap<String, Opened>, Faults> {
        // The file of a Unix socket can only be replaced, not shared: that comes
        // last, when nothing else can fail any more.
        let replaces = |listener: &Listener| matches!(listener.address, Address::Unix(_)) && is_ours(listener, ours);
        let (last, first): (Vec<_>, Vec<_>) = listeners.partition(|listener| replaces(listener));
        let mut opened = BTreeMap::new();
        let mut faults = Vec::new();
        for listener in first.into_iter().chain(last) {
            if replaces(listener) && !faults.is_empty() {
                break;
            }
            match self.open_one(listener, ours) {
                Ok(each) => {
                    opened.insert(listener.name.clone(), each);
                }
                Err(error) => faults.push((listener.name.clone(), error)),
            }
        }
        if faults.is_empty() { Ok(opened) } else { Err(Faults(faults)) }
    }

    fn open_one(&mut self, listener: &Listener, ours: &[Address]) -> Result<Opened, String> {
        if self.inherited.get(&listener.name).is_some_and(|each| each.address == listener.address) {
            return self.open_inherited(listener);
        }
        if let Some(bound) = self.open_outlived(listener) {
            return Ok(Opened { bound, inherited: false });
        }
        let again = !is_ours(listener, ours);
        if let Some(kept) = self.kept.get(&listener.address).filter(|_| again) {
            let bound = kept.listen(listener.backlog).map_err(|error| error.to_string())?;
            tell(&bound, listener)?;
            return Ok(Opened { bound, inherited: false });
        }
        let options = self.bind_options(listener, listener.address.clone(), is_ours(listener, ours));
        let mut bound = self.binder.bind(&options, self.workers).map_err(|error| {
            let (text, address) = (error.to_string(), listener.address.to_string());
            if text.contains(&address) { text } else { format!("cannot listen on {address}: {text}") }
        })?;
        self.keep_low_port(listener, &mut bound).map_err(|error| format!("no duplicate of its socket: {error}"))?;
        Ok(Opened { bound, inherited: false })
    }

    /// Without root an address below 1024 is bound once and never again.
    fn keep_low_port(&mut self, listener: &Listener, bound: &mut Bound) -> io::Result<()> {
        if self.owner.is_some_and(|(uid, _)| uid != 0) && is_privileged(&listener.address) {
            let kept = bound.keep()?;
            self.kept.insert(listener.address.clone(), kept);
        }
        Ok(())
    }

    /// Sockets that an earlier netd has left, their queues with them; `None`:
    /// there are none, or none that can be used.
    fn open_outlived(&mut self, listener: &Listener) -> Option<Bound> {
        let fds = self.outlived.remove(&listener.name)?;
        let file = file_of(listener);
        let origin = if file.is_some() { Origin::Shared } else { Origin::Own };
        let given = fds.into_iter().map(|fd| Duplicate { fd, origin }).collect();
        let resumed = listen::resume(given, file).and_then(|bound| {
            match file {
                Some(file) => listen::set_mode(file, listener.mode)?,
                None => bound.sockets.iter().try_for_each(ListenSocket::accept_new)?,
            }
            Ok(bound)
        });
        match resumed {
            Ok(mut bound) => {
                let missing = self.workers.saturating_sub(bound.sockets.len());
                if missing > 0 {
                    let more = self.more(listener, &bound.local, missing);
                    bound.sockets.extend(more.into_iter().flatten());
                }
                bound.sockets.iter().for_each(|socket| socket.set_backlog(listener.backlog));
                if let Err(error) = self.keep_low_port(listener, &mut bound) {
                    tracing::warn!(listener = %listener.name, %error, "once stopped it cannot be started again");
                }
                tracing::info!(listener = %listener.name, "it goes on with the sockets of an earlier netd");
                Some(bound)
            }
            Err(error) => {
                tracing::warn!(listener = %listener.name, %error, "the sockets of an earlier netd cannot be used");
                None
            }
        }
    }

    /// The socket that systemd made for it.
    pub(super) fn open_inherited(&self, listener: &Listener) -> Result<Opened, String> {
        let fds = self.inherited.get(&listener.name).map(|each| &*each.fds).unwrap_or_default();
        let bound = self.adopt(fds).map_err(|error| format!("its socket from systemd: {error}"))?;
        tell(&bound, listener)?;
        Ok(Opened { bound, inherited: true })
    }

    /// How to bind a listener's sockets to this address.
    pub(super) fn bind_options(&self, listener: &Listener, address: Address, rebind: bool) -> BindOptions {
        BindOptions {
            address: bind_address(&address),
            backlog: listener.backlog,
            v6only: listener.v6only,
            mode: listener.mode,
            owner: self.owner,
            rebind,
            tcp: worker::socket_options(&listener.tcp),
        }
    }

    /// From now on there are so many workers.
    pub(super) fn set_workers(&mut self, workers: usize) {
        self.workers = workers;
    }

    /// Further sockets, for further workers, of a listener that netd serves at
    /// `bound`; `None`: it has to share those that it has.
    pub(super) fn more(&self, listener: &Listener, bound: &str, count: usize) -> Option<Vec<ListenSocket>> {
        let address = bound.parse().ok().filter(|_| matches!(listener.address, Address::Inet(_)))?;
        let options = self.bind_options(listener, Address::Inet(address), true);
        match self.binder.bind(&options, count) {
            Ok(bound) => Some(bound.sockets),
            Err(error) => {
                tracing::info!(listener = %listener.name, %error, "further workers share its sockets");
                None
            }
        }
    }

    /// Why sockets for this listener cannot be had, if that is known without
    /// trying.
    pub(super) fn obstacle(&self, listener: &Listener, ours: &[Address]) -> Option<String> {
        let inherited = self.inherited.get(&listener.name).is_some_and(|each| each.address == listener.address);
        let kept = self.kept.contains_key(&listener.address);
        let unprivileged = self.owner.is_some_and(|(uid, _)| uid != 0);
        if inherited || !unprivileged || !is_privileged(&listener.address) || (kept && !is_ours(listener, ours)) {
            return None;
        }
        Some(match kept {
            true => format!(
                "{} is in use by another listener, and netd has given up root: free it by one reload and take it by the next",
                listener.address
            ),
            false => format!("{}: netd has given up root, and a port below 1024 takes a restart", listener.address),
        })
    }

    /// Several sockets of one name (ReusePort=) are dealt out over the workers.
    fn adopt(&self, fds: &[OwnedFd]) -> io::Result<Bound> {
        if fds.len() > self.workers {
            // Some workers serve several.
            let mut all = Bound { sockets: Vec::with_capacity(fds.len()), local: String::new() };
            for fd in fds {
                let Bound { sockets, local } = self.binder.adopt(fd.try_clone()?, 1)?;
                all.sockets.extend(sockets);
                all.local = local;
            }
            return Ok(all);
        }
        let adopted = fds.iter().map(|fd| self.binder.adopt(fd.try_clone()?, self.workers));
        let adopted: Vec<Bound> = adopted.collect::<io::Result<_>>()?;
        let local = adopted.first().map(|bound| bound.local.clone()).unwrap_or_default();
        let mut rows: Vec<_> = adopted.into_iter().map(|bound| bound.sockets.into_iter()).collect();
        let count = rows.len();
        let mut sockets = Vec::with_capacity(self.workers);
        for worker in 0..self.workers {
            let mut column: Vec<_> = rows.iter_mut().filter_map(Iterator::next).collect();
            if let Some(last) = column.len().checked_sub(1) {
                sockets.push(column.swap_remove((worker % count).min(last)));
            }
        }
        Ok(Bound { sockets, local })
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets").field("inherited", &self.inherited.keys()).finish_non_exhaustive()
    }
}

/// Options of sockets that were bound by somebody else, or before.
fn tell(bound: &Bound, listener: &Listener) -> Result<(), String> {
    if listener.tcp == Default::default() {
        return Ok(());
    }
    let options = worker::socket_options(&listener.tcp);
    bound.set_options(&options).map_err(|refused| refused.to_string())
}

/// The file of a Unix-domain listener.
pub(super) fn file_of(listener: &Listener) -> Option<&Path> {
    match &listener.address {
        Address::Unix(path) => Some(path),
        Address::Inet(_) => None,
    }
}

fn bind_address(address: &Address) -> BindAddress {
    match address {
        Address::Inet(address) => BindAddress::Inet(*address),
        Address::Unix(path) => BindAddress::Unix(PathBuf::clone(path)),
    }
}

/// Whether netd itself is what listens there.
pub(super) fn is_ours(listener: &Listener, ours: &[Address]) -> bool {
    ours.iter().any(|other| overlap(other, &listener.address))
}

/// Whether listening on both at once looks like a conflict to the system.
fn overlap(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Inet(a), Address::Inet(b)) => {
            a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || is_wild(a) || is_wild(b))
        }
        (Address::Unix(a), Address::Unix(b)) => a == b,
        _ => false,
    }
}

/// Whether binding it takes CAP_NET_BIND_SERVICE (as `ip_unprivileged_port_start`
/// has it by default).
fn is_privileged(address: &Address) -> bool {
    matches!(address, Address::Inet(address) if (1..1024).contains(&address.port()))
}

fn is_wild(address: &SocketAddr) -> bool {
    address.ip().is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_overlap_by_port_and_wildcard() {
        let at = |text: &str| text.parse::<Address>().unwrap();
        assert!(overlap(&at("127.0.0.1:80"), &at("127.0.0.1:80")));
        assert!(overlap(&at("0.0.0.0:80"), &at("127.0.0.1:80")));
        assert!(overlap(&at("[::]:80"), &at("127.0.0.1:80")));
        assert!(!overlap(&at("127.0.0.2:80"), &at("127.0.0.1:80")));
        assert!(!overlap(&at("127.0.0.1:80"), &at("127.0.0.1:81")));
        assert!(!overlap(&at("127.0.0.1:0"), &at("127.0.0.1:0")));
        assert!(overlap(&at("unix:/run/a"), &at("unix:/run/a")));
        assert!(!overlap(&at("unix:/run/a"), &at("unix:/run/b")));
    }
}
