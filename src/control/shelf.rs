//! Listening sockets that somebody keeps beyond the end of this process: told
//! anew whenever they have changed.

use std::{fmt, path::Path};

use super::{controller::Controller, gather::Gather, port::WorkerPort, sockets::file_of, start::Keep};
use crate::{
    listen::{Duplicate, Origin, Shelved, distinct},
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

    /// Those that netd has bound itself.
    fn signature(&self) -> Signature {
        let own = self.fleet.told().listeners.iter().filter(|(_, told)| !told.inherited);
        (own.filter_map(|(name, told)| Some((name.clone(), told.id?))).collect(), self.fleet.count())
    }

    fn fill_shelf(&mut self, answers: impl Iterator<Item = (String, std::io::Result<Vec<Duplicate>>)>) -> bool {
        let mut sockets = Vec::new();
        for (name, duplicates) in answers {
            // Without descriptors for them: at the next look.
            let Ok(duplicates) = duplicates else { return false };
            let Some(told) = self.fleet.told().listeners.get(&name).filter(|told| told.id.is_some()) else { continue };
            let own = duplicates.into_iter().filter(|each| each.origin != Origin::Inherited);
            let Ok(own) = distinct(own.collect()) else { return false };
            let file = file_of(&told.config);
            let shelved =
                |each: Duplicate| Shelved { listener: name.clone(), file: file.map(Path::to_owned), fd: each.fd };
            sockets.extend(own.into_iter().map(shelved));
        }
        self.shelf.keep.as_mut().is_none_or(|keep| keep(sockets))
    }
}
