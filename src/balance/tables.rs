//! The tables of [`Policy::Maglev`], made apart from the balancers: one takes
//! long to fill for thousands of endpoints, and all workers can read the same.

use std::sync::Arc;

use super::{Candidate, Maglev, Policy};

/// The tables that a balancer needs under its policy: mostly none.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    pub(super) primary: Option<Arc<Maglev>>,
    pub(super) backup: Option<Arc<Maglev>>,
}

impl Tables {
    /// The tables of `candidates`. `name` answers an identity's
    /// [`stable_hash`](super::stable_hash), the same in every process and on
    /// every machine; it is asked only if a table is needed.
    pub fn of<K>(policy: Policy, candidates: &[Candidate<K>], name: impl Fn(&K) -> u64) -> Self {
        if policy != Policy::Maglev {
            return Self::default();
        }
        let table = |backup: bool| {
            let taking = candidates.iter().filter(|each| each.backup == backup && each.weight > 0);
            let members: Vec<_> = taking.map(|each| (name(&each.key), each.weight)).collect();
            (!members.is_empty()).then(|| Arc::new(Maglev::new(&members)))
        };
        Self { primary: table(false), backup: table(true) }
    }
}
