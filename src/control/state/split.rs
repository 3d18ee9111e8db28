//! The shares of a listener's pools: the file's, and the override above them.

use std::time::{Duration, SystemTime};

use super::{State, override_of};
use crate::{
    config::{Listener, PoolShare, format_shares},
    control::{
        balancing::Split,
        names,
        request::{Override, Provenance, Refusal},
    },
};

impl State {
    /// The listener's pools with their shares in force.
    pub(in crate::control) fn split(&self, listener: &Listener) -> Vec<PoolShare> {
        match self.splits.get(&listener.name) {
            Some(split) => split.value.over(listener),
            None => listener.protocol.pools().to_vec(),
        }
    }

    /// What stands above the file's shares.
    pub(in crate::control) fn split_override(&self, listener: &str) -> Option<&Override<Split>> {
        self.splits.get(listener)
    }

    /// Sets the shares of some of the listener's pools, the others keep theirs;
    /// or goes back to the file's.
    pub(in crate::control) fn set_split(
        &mut self,
        name: &str,
        shares: Option<&[PoolShare]>,
        expires_in: Option<Duration>,
        by: &Provenance,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        let listener = self.listener(name)?.clone();
        let Some(shares) = shares else {
            self.splits.remove(name);
            return Ok(());
        };
        let known = listener.protocol.pools();
        if known.is_empty() {
            let what = listener.protocol.as_str();
            return Err(Refusal::Precondition(format!("listener `{name}` relays to no pool: its protocol is {what}")));
        }
        let mut split = self.splits.get(name).map(|each| each.value.clone()).unwrap_or_default();
        for (index, share) in shares.iter().enumerate() {
            if shares[..index].iter().any(|each| each.name == share.name) {
                return Err(Refusal::Invalid(format!("pool `{}` is named twice", share.name)));
            }
            if share.weight > 1000 {
                return Err(Refusal::Invalid(format!("weight {} is out of range: 0 to 1000", share.weight)));
            }
            if !known.iter().any(|each| each.name == share.name) {
                let owner = format!("of listener `{name}`");
                return Err(names::missing_of(
                    &owner,
                    "pool",
                    &share.name,
                    known.iter().map(|each| each.name.as_str()),
                ));
            }
            split.set(share);
        }
        if !split.fits(Some(&listener)) {
            let shares = format_shares(&split.over(&listener));
            return Err(Refusal::Invalid(format!("no pool would have a share: {shares}; stop the listener instead")));
        }
        self.splits.insert(name.to_owned(), override_of(split, by, now, expires_in)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        config::{Config, HashKey, Protocol},
        control::testing::{by, pool, relay, usual},
    };

    const T0: SystemTime = SystemTime::UNIX_EPOCH;

    fn canary() -> Config {
        let mut web = (*relay("web", "127.0.0.1:8080", "db")).clone();
        web.protocol = Protocol::Tcp { pools: vec![share("db", 95), share("new", 5)], hash: HashKey::default() };
        let mut config = usual();
        config.pools.push(pool("new", &[("10.0.0.9:1", 1)]));
        config.listeners[0] = Arc::new(web);
        config
    }

    fn share(name: &str, weight: u16) -> PoolShare {
        PoolShare { name: name.to_owned(), weight }
    }

    fn set(state: &mut State, shares: &[PoolShare], expires_in: Option<Duration>) -> Result<(), Refusal> {
        state.set_split("web", Some(shares), expires_in, &by("ann"), T0)
    }

    fn shares(state: &State) -> String {
        format_shares(&state.split(state.listener("web").unwrap()))
    }

    #[test]
    fn an_override_stands_above_the_file_until_it_is_cleared() {
        let mut state = State::new(Arc::new(canary()), T0);
        assert_eq!(shares(&state), "db=95 new=5");
        set(&mut state, &[share("new", 50)], None).unwrap();
        assert_eq!(shares(&state), "db=95 new=50");
        set(&mut state, &[share("db", 0)], None).unwrap();
        assert_eq!((shares(&state).as_str(), state.overrides()), ("db=0 new=50", 1), "the other stays");
        let twice = set(&mut state, &[share("new", 1), share("new", 2)], None).unwrap_err();
        assert_eq!(twice, Refusal::Invalid("pool `new` is named twice".to_owned()));
        let stranger = set(&mut state, &[share("foo", 1)], None).unwrap_err().to_string();
        assert!(stranger.starts_with("there is no pool `foo` of listener `web`"), "{stranger}");
        state.replace(Arc::new(canary()), T0);
        assert_eq!(shares(&state), "db=0 new=50", "it survives a reload");
        state.set_split("web", None, None, &by("ann"), T0).unwrap();
        assert_eq!((shares(&state).as_str(), state.overrides()), ("db=95 new=5", 0));
    }

    #[test]
    fn a_successor_inherits_it_if_its_pools_are_there() {
        let mut state = State::new(Arc::new(canary()), T0);
        set(&mut state, &[share("new", 50)], Some(Duration::from_secs(9))).unwrap();
        let inherit = |config| State::inherited(Arc::new(config), 7, T0, state.all_overrides());
        let (heir, lifted) = inherit(canary());
        assert_eq!((shares(&heir).as_str(), lifted.len()), ("db=95 new=50", 0));
        assert_eq!(heir.split_override("web"), state.split_override("web"));
        let (heir, lifted) = inherit(usual());
        assert_eq!((shares(&heir).as_str(), lifted.len()), ("db=1", 1));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut state = State::new(Arc::new(canary()), T0);
        assert!(matches!(set(&mut state, &[share("db", 1001)], None), Err(Refusal::Invalid(_))));
        assert!(matches!(set(&mut state, &[share("old", 1)], None), Err(Refusal::NotFound(_))));
        assert!(matches!(set(&mut state, &[share("db", 0), share("new", 0)], None), Err(Refusal::Invalid(_))));
        let echo = state.set_split("echo", Some(&[share("db", 1)]), None, &by("ann"), T0);
        assert!(matches!(echo, Err(Refusal::Precondition(_))));
        assert_eq!(state.overrides(), 0);
    }

    #[test]
    fn it_expires_and_goes_with_its_pool_and_comes_back_with_it() {
        let mut state = State::new(Arc::new(canary()), T0);
        set(&mut state, &[share("new", 50)], Some(Duration::from_secs(9))).unwrap();
        assert!(!state.has_expired(T0 + Duration::from_secs(8)) && state.has_expired(T0 + Duration::from_secs(9)));
        let former = state.clone();
        let lifted = state.replace(Arc::new(usual()), T0);
        assert_eq!((lifted[0].object.as_str(), lifted[0].value.as_str()), ("listener/web", "new=50"));
        assert_eq!(shares(&state), "db=1");
        state.restore(&former, T0);
        assert_eq!(shares(&state), "db=95 new=50");
        assert_eq!(state.expire(T0 + Duration::from_secs(9)).len(), 1);
        assert_eq!(shares(&state), "db=95 new=5");
    }
}
