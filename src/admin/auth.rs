//! Who may use the admin API.

use std::{
    ffi::CString,
    future::ready,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use nix::unistd::{self, Gid, Uid, User};
use tokio::{sync::oneshot, time::Instant};
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};

use super::reserve::Reserve;

/// A Unix group whose members may use the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    name: String,
    gid: u32,
}

impl Group {
    /// Looks a group up by name or number.
    ///
    /// # Errors
    /// If there is no such group, or the group database cannot be read.
    pub fn find(name: &str) -> io::Result<Self> {
        let found = unistd::Group::from_name(name)?.map(|group| group.gid.as_raw()).or_else(|| name.parse().ok());
        let gid = found.ok_or_else(|| {
            let message = format!("there is no group `{name}` for admin.group; create it with `groupadd {name}`");
            io::Error::new(io::ErrorKind::NotFound, message)
        })?;
        Ok(Self { name: name.to_owned(), gid })
    }

    /// Its number.
    pub fn gid(&self) -> u32 {
        self.gid
    }
}

/// The rule: root, netd's own user, and the members of one group.
#[derive(Debug, Clone)]
pub struct Access {
    own: u32,
    own_name: Arc<str>,
    group: Option<Group>,
}

impl Access {
    /// The rule for this process as it is now: make it after privileges are
    /// dropped.
    pub fn new(group: Option<Group>) -> Self {
        let own = unistd::geteuid();
        Self { own: own.as_raw(), own_name: user_name(own).into(), group }
    }

    /// Whether a peer with these ids may use the API.
    ///
    /// # Errors
    /// Why not, and what would help.
    fn decide(&self, uid: u32, groups: &[u32]) -> Result<(), String> {
        if uid == 0 || uid == self.own || self.group.as_ref().is_some_and(|group| groups.contains(&group.gid)) {
            return Ok(());
        }
        let own = self.own;
        Err(match &self.group {
            None => format!(
                "uid {uid} may not use netd's admin API: only root and netd's own user (uid {own}) may; \
                 use sudo, or set `admin.group` in netd's configuration to a group you are in"
            ),
            Some(Group { name, .. }) => format!(
                "uid {uid} may not use netd's admin API: only root, netd's own user (uid {own}) and members of \
                 group `{name}` may; use sudo, or `usermod -aG {name} USER` and log in again"
            ),
        })
    }

    /// The peer behind a Unix socket with these credentials (SO_PEERCRED: those
    /// of its connect). Names and supplementary groups are looked up on a thread
    /// of their own, since that may ask a directory server; root and netd's own
    /// user need no look-up.
    pub(super) async fn identify(&self, uid: u32, gid: u32, reserve: &Arc<Reserve>) -> Peer {
        if uid == 0 || uid == self.own || self.group.is_none() {
            return Peer::new(&self.known_name(uid), self.decide(uid, &[gid]));
        }
        let reserve = Arc::clone(reserve);
        let (sender, answer) = oneshot::channel();
        let thread = std::thread::Builder::new().name("netd-names".to_owned());
        let started = thread.spawn(move || sender.send(reserve.lend(|| look_up(uid, gid))));
        let (name, groups) = match started {
            Ok(_) => answer.await.ok(),
            Err(_) => None,
        }
        .unwrap_or_else(|| (numbered(uid), vec![gid]));
        Peer::new(&name, self.decide(uid, &groups))
    }

    fn known_name(&self, uid: u32) -> Arc<str> {
        match uid {
            _ if uid == self.own => Arc::clone(&self.own_name),
            0 => "root".into(),
            _ => numbered(uid).into(),
        }
    }
}

/// Who is at the other end of an admin connection, found out once when it was
/// accepted.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    name: Arc<str>,
    refusal: Option<Arc<str>>,
}

impl Peer {
    /// A peer on loopback TCP, where there are no credentials to check.
    pub(super) fn tcp(address: Option<SocketAddr>) -> Self {
        let name = address.map_or_else(|| "tcp".to_owned(), |address| format!("tcp:{address}"));
        Self::new(&name, Ok(()))
    }

    /// A peer whose credentials the kernel did not tell.
    pub(super) fn unknown() -> Self {
        Self::new("unknown", Err("the kernel did not tell the peer's credentials (SO_PEERCRED)".to_owned()))
    }

    /// The name kept with a change when the request gives none.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn new(name: &str, decision: Result<(), String>) -> Self {
        Self { name: name.into(), refusal: decision.err().map(Into::into) }
    }
}

/// Stands before every service that is not open to all: answers
/// PERMISSION_DENIED, saying whose uid it was and what would help, and has it
/// logged.
#[derive(Debug, Clone)]
pub(super) struct Checked<S> {
    inner: S,
    refusals: Arc<Refusals>,
}

impl<S> Checked<S> {
    pub(super) fn new(inner: S, refusals: &Arc<Refusals>) -> Self {
        Self { inner, refusals: Arc::clone(refusals) }
    }
}

impl<S: NamedService> NamedService for Checked<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<http::Request<B>> for Checked<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let peer = request.extensions().get::<Peer>();
        match check(peer) {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(status) => {
                let name = peer.map_or("unknown", Peer::name);
                self.refusals.tell(name, request.uri().path(), Instant::now());
                Box::pin(ready(Ok(status.into_http())))
            }
        }
    }
}

fn check(peer: Option<&Peer>) -> Result<(), Status> {
    match peer {
        Some(Peer { refusal: None, .. }) => Ok(()),
        Some(Peer { refusal: Some(reason), .. }) => Err(Status::permission_denied(&**reason)),
        None => Err(Status::permission_denied("the peer is not known")),
    }
}

/// Logs refused peers, so that nobody knocks in secret; not every one of them,
/// so that nobody fills the log.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<(Option<Instant>, u64)>);

impl Refusals {
    /// At most one line in this time.
    const EVERY: Duration = Duration::from_secs(10);

    fn tell(&self, peer: &str, method: &str, now: Instant) {
        if let Some(untold) = self.due(now) {
            let untold = Some(untold).filter(|&untold| untold > 0);
            tracing::warn!(peer, method, untold, "the admin API was refused to a peer that may not use it");
        }
    }

    /// Whether it is time for a line, and how many refusals had none.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, untold) = &mut *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < Self::EVERY) {
            *untold += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(untold))
    }
}

fn look_up(uid: u32, gid: u32) -> (String, Vec<u32>) {
    let name = user_name(Uid::from_raw(uid));
    let groups = CString::new(name.as_str()).ok().and_then(|name| unistd::getgrouplist(&name, Gid::from_raw(gid)).ok());
    let groups = groups.unwrap_or_default().into_iter().map(Gid::as_raw).chain([gid]).collect();
    (name, groups)
}

fn user_name(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| numbered(uid.as_raw()), |user| user.name)
}

fn numbered(uid: u32) -> String {
    format!("uid:{uid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(group: Option<u32>) -> Access {
        let group = group.map(|gid| Group { name: "ops".to_owned(), gid });
        Access { own: 998, own_name: "netd".into(), group }
    }

    #[test]
    fn root_and_the_own_user_may() {
        for uid in [0, 998] {
            assert_eq!(access(None).decide(uid, &[]), Ok(()));
            assert_eq!(access(Some(50)).decide(uid, &[7]), Ok(()));
        }
    }

    #[test]
    fn members_of_the_group_may() {
        assert_eq!(access(Some(50)).decide(1000, &[50]), Ok(()));
        assert_eq!(access(Some(50)).decide(1000, &[1000, 4, 50]), Ok(()));
    }

    #[test]
    fn all_others_are_told_what_would_help() {
        let without = access(None).decide(1000, &[998, 0]).expect_err("refused");
        assert!(without.contains("uid 1000") && without.contains("admin.group"), "{without}");
        let with = access(Some(50)).decide(1000, &[51]).expect_err("refused");
        assert!(with.contains("uid 1000") && with.contains("usermod -aG ops"), "{with}");
    }

    #[test]
    fn a_request_without_a_known_peer_is_refused() {
        let status = check(None).expect_err("refused");
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
    }

    #[test]
    fn only_peers_without_refusal_pass() {
        for (peer, passes) in [(Peer::tcp(None), true), (Peer::unknown(), false)] {
            assert_eq!(check(Some(&peer)).is_ok(), passes);
        }
    }

    #[test]
    fn refusals_are_told_at_most_once_in_a_while() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.due(now), Some(0));
        assert_eq!(refusals.due(now + Duration::from_secs(1)), None);
        assert_eq!(refusals.due(now + Duration::from_secs(9)), None);
        assert_eq!(refusals.due(now + Duration::from_secs(10)), Some(2));
        assert_eq!(refusals.due(now + Duration::from_secs(20)), Some(0));
    }

    #[test]
    fn groups_are_found_by_name_and_number_and_missed_with_help() {
        assert_eq!(Group::find("root").expect("every system has it").gid(), 0);
        assert_eq!(Group::find("4711").expect("a number").gid(), 4711);
        let error = Group::find("no-such-group").expect_err("missing");
        assert!(error.to_string().contains("groupadd no-such-group"));
    }

    #[test]
    fn identifying_looks_up_only_strangers() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let reserve = Arc::new(Reserve::new(2).expect("descriptors"));
        runtime.block_on(async {
            let peer = access(None).identify(0, 0, &reserve).await;
            assert_eq!((peer.name(), peer.refusal.is_some()), ("root", false));
            let peer = access(None).identify(998, 5, &reserve).await;
            assert_eq!((peer.name(), peer.refusal.is_some()), ("netd", false));
            let peer = access(Some(3_999_999)).identify(4_000_000, 3_999_999, &reserve).await;
            assert_eq!((peer.name(), peer.refusal.is_some()), ("uid:4000000", false));
            let peer = access(Some(50)).identify(4_000_000, 60, &reserve).await;
            assert_eq!((peer.name(), peer.refusal.is_some()), ("uid:4000000", true));
        });
    }
}
