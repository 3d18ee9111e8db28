//! Taking back a configuration, and with it what its overrides were.

use std::{collections::BTreeMap, time::SystemTime};

use super::{Lifted, State, over};
use crate::control::request::Override;

impl State {
    /// Takes the configuration of `former` again. Overrides of objects that
    /// were gone meanwhile come back with them, unless their time is over:
    /// nobody could have cleared them, and an endpoint under maintenance must
    /// not come back into service. Overrides of what is gone now are told.
    pub(in crate::control) fn restore(&mut self, former: &Self, now: SystemTime) -> Vec<Lifted> {
        let meanwhile = self.clone();
        let lifted = self.replace(former.config.clone(), now);
        take_back(&mut self.listeners, &former.listeners, now, |name| meanwhile.listener(name).is_err());
        take_back(&mut self.pools, &former.pools, now, |name| meanwhile.pool(name).is_err());
        take_back(&mut self.endpoints, &former.endpoints, now, |(pool, address)| {
            meanwhile.endpoint(pool, address).is_err()
        });
        take_back(&mut self.splits, &former.splits, now, |name| {
            !former.splits[name].value.fits(meanwhile.listener(name).ok())
        });
        lifted
    }
}

fn take_back<K: Ord + Clone, V: Clone>(
    overrides: &mut BTreeMap<K, Override<V>>,
    former: &BTreeMap<K, Override<V>>,
    now: SystemTime,
    was_gone: impl Fn(&K) -> bool,
) {
    let back = former.iter().filter(|(key, value)| was_gone(key) && !over(value, now));
    for (key, value) in back {
        overrides.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::control::{
        request::EndpointOverride,
        testing::{by, empty, usual},
    };

    const T0: SystemTime = SystemTime::UNIX_EPOCH;
    const ENDPOINT: (&str, &str) = ("db", "10.0.0.1:5432");

    fn maintained(expires_in: Option<Duration>) -> State {
        let mut state = State::new(Arc::new(usual()), T0);
        let maintenance = Some(EndpointOverride::Maintenance);
        state.set_endpoint(ENDPOINT.0, ENDPOINT.1, maintenance, expires_in, &by("ann"), T0).unwrap();
        state.stop("web", None, &by("ann"), T0).unwrap();
        state
    }

    fn value(state: &State) -> Option<EndpointOverride> {
        state.endpoint_override(ENDPOINT.0, ENDPOINT.1).map(|each| each.value)
    }

    #[test]
    fn what_went_with_its_object_comes_back_with_it() {
        let former = maintained(None);
        let mut state = former.clone();
        assert_eq!(state.replace(Arc::new(empty()), T0).len(), 2);
        assert_eq!(state.restore(&former, T0), []);
        assert_eq!(value(&state), Some(EndpointOverride::Maintenance));
        assert!(!state.accepts("web"));
        assert_eq!((state.generation(), state.config()), (3, former.config()));
    }

    #[test]
    fn what_somebody_cleared_meanwhile_stays_cleared() {
        let former = maintained(None);
        let mut state = former.clone();
        let mut config = usual();
        config.listeners.remove(1);
        state.replace(Arc::new(config), T0);
        state.set_endpoint(ENDPOINT.0, ENDPOINT.1, None, None, &by("bert"), T0).unwrap();
        state.start("web").unwrap();
        state.restore(&former, T0);
        assert_eq!(value(&state), None);
        assert!(state.accepts("web"));
    }

    #[test]
    fn what_has_expired_meanwhile_does_not_come_back() {
        let former = maintained(Some(Duration::from_secs(1)));
        let mut state = former.clone();
        state.replace(Arc::new(empty()), T0);
        state.restore(&former, T0 + Duration::from_secs(1));
        assert_eq!(value(&state), None);
    }
}
