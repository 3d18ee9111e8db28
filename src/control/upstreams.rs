//! Whether the system lets connections to endpoints be made as their pools ask
//! for: seen before anything is changed, not with the first client.

use std::sync::Arc;

use super::names;
use crate::{
    config::{Config, Difference, Pool, PoolChange},
    worker,
};

/// What is refused of a first configuration; `becomes`: the user that netd is
/// about to become.
pub(super) fn refused_at_start(config: &Config, becomes: Option<u32>) -> Vec<String> {
    let unprivileged = becomes.is_some_and(|uid| uid != 0) && nix::unistd::geteuid().is_root();
    refused(config.pools.iter(), unprivileged)
}

/// What is refused of a change.
pub(super) fn refused_of(difference: &Difference) -> Vec<String> {
    let pools = difference.pools.iter().filter_map(|change| match change {
        PoolChange::Added(new) | PoolChange::Changed { new, .. } => Some(new),
        PoolChange::Removed(_) => None,
    });
    refused(pools, false)
}

fn refused<'a>(pools: impl Iterator<Item = &'a Arc<Pool>>, unprivileged: bool) -> Vec<String> {
    let each = pools.filter_map(|pool| {
        let why = worker::refused_upstream(pool, unprivileged)?;
        Some(format!("{}: connections to its endpoints: {why}", names::pool(&pool.name)))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Source, Tcp},
        control::testing::pool,
    };

    #[test]
    fn what_the_system_refuses_is_told_before() {
        let plain = pool("db", &[("127.0.0.1:1", 1)]);
        assert_eq!(refused([&plain].into_iter(), true), [""; 0]);
        let wrong = Tcp { interface: Some("no-such".to_owned()), ..Tcp::default() };
        let wrong = Arc::new(Pool { tcp: wrong, ..(*plain).clone() });
        let told = refused([&wrong].into_iter(), false);
        assert!(told[0].starts_with("pool/db: connections to its endpoints: tcp.interface: "), "{told:?}");
        let client = Arc::new(Pool { source: Source::Client, ..(*plain).clone() });
        let told = refused([&client].into_iter(), true);
        assert!(told[0].contains("CAP_NET_ADMIN, which netd gives up with root"), "{told:?}");
    }
}
