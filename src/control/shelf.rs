//! Listening sockets that somebody keeps beyond the end of this process: told
//! anew whenever they have changed.

use std::{fmt, net::SocketAddr};

use super::{controller::Controller, gather::Gather, port::WorkerPort, start::Keep};
use crate::{
    listen::{Duplicate, Origin, distinct},
    worker::ListenerId,
};

/// What decides which sockets there are: accepting listeners and workers.
type Signature = (Vec<(String, ListenerId)>, usize);

/// What was kept last.
#[derive(Default)]
pub(super) struct Shelf {
    keep: Option<Keep>,
    kept: Option<Signature>,
    /// The workers are asked.
    asking: bool,
}

impl Shelf {
    pub(super) fn new(keep: Option<Keep>) -> Self {
        Self { keep, ..Self::default() }
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("kept", &self.kept).finish_non_exhaustive()
    }
}

impl<P: WorkerPort> Controller<P> {
    /// Looks whether other sockets are to be kept.
    pub(super) fn look_at_shelf(&mut self) {
        if self.shelf.keep.is_none() || self.shelf.asking {
            return;
        }
        if self.upgrades.is_moving() || self.upgrades.has_retired() {
            // Whoever serves in the end keeps them anew.
            self.shelf.kept = None;
            return;
        }
        let signature = self.signature();
        if self.shelf.kept.as_ref() == Some(&signature) {
            return;
        }
        self.shelf.asking = true;
        let gather = self.fleet.duplicates();
        self.after(gather, move |controller, gather: Gather<_>| {
            controller.shelf.asking = false;
            let complete = gather.silent().is_empty();
            let unchanged = controller.signature() == signature && !controller.upgrades.is_moving();
            if complete && unchanged && controller.fill_shelf(gather.answers.into_iter().map(|(_, answer)| answer)) {
                controller.shelf.kept = Some(signature);
            }
        });
    }

    /// Those that netd has bound itself, on IP addresses: a Unix-domain socket
    /// ends with its file.
    fn signature(&self) -> Signature {
        let told = self.fleet.told().listeners.iter();
        let own = told.filter(|(_, told)| !told.inherited && told.bound.parse::<SocketAddr>().is_ok());
        (own.filter_map(|(name, told)| Some((name.clone(), told.id?))).collect(), self.fleet.count())
    }

    fn fill_shelf(&mut self, answers: impl Iterator<Item = (String, std::io::Result<Vec<Duplicate>>)>) -> bool {
        let wanted = self.signature().0;
        let mut sockets = Vec::new();
        for (name, duplicates) in answers {
            // Without descriptors for them: at the next look.
            let Ok(duplicates) = duplicates else { return false };
            let own = duplicates.into_iter().filter(|each| matches!(each.origin, Origin::Own));
            let Ok(own) = distinct(own.collect()) else { return false };
            if wanted.iter().any(|(each, _)| *each == name) {
                sockets.extend(own.into_iter().map(|each| (name.clone(), each.fd)));
            }
        }
        self.shelf.keep.as_mut().is_none_or(|keep| keep(sockets))
    }
}
