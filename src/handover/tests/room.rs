//! A successor with too few descriptors for what comes.

use std::{collections::BTreeSet, os::fd::OwnedFd, thread};

use super::{cells::Puppet, fakes::*};
use crate::{
    control::Verdict,
    handover::{
        Features,
        codec::{Kind, Message},
    },
    pb::handover as pb,
    sys::channel,
    worker::Held,
};

/// Takes connections while it has room for so many descriptors; answers which,
/// and for how many it was told to keep places.
fn narrow(socket: OwnedFd, mut room: usize) -> (BTreeSet<u64>, u64) {
    let mut puppet = Puppet::new(socket);
    let (mut taken, mut expected) = (BTreeSet::new(), 0);
    while let Some(Message { kind, sequence, fds }) = puppet.next() {
        let answer = match kind {
            Kind::Offer(_) => {
                let features = Features::all().words().to_vec();
                Kind::Hello(pb::Hello { version: 1, features, pid: NEW, workers: 1, ..pb::Hello::default() })
            }
            Kind::Will(_) | Kind::Extras(_) | Kind::Sockets(_) => Kind::Got(pb::Got { sequence }),
            Kind::Complete(pb::Complete { sockets, extras }) => Kind::Ready(pb::Ready { sockets, extras }),
            Kind::Go(go) => {
                expected = go.expected.unwrap_or_default().connections;
                Kind::Serving(pb::Serving {})
            }
            Kind::TakeOver(_) => Kind::Owner(pb::Owner::default()),
            Kind::Move(_) if fds.len() > room => {
                let none = Some("no room".to_owned());
                Kind::Moved(pb::Moved { sequence, none, ..pb::Moved::default() })
            }
            Kind::Move(batch) => {
                room -= fds.len();
                taken.extend(batch.connections.iter().map(|each| each.id));
                puppet.say(Kind::Got(pb::Got { sequence }));
                let taken = u32::try_from(batch.connections.len()).unwrap();
                Kind::Moved(pb::Moved { sequence, taken, ..pb::Moved::default() })
            }
            Kind::Settle(_) => Kind::Done(pb::Done {}),
            _ => break,
        };
        puppet.say(answer);
        puppet.codec.version = 1;
    }
    (taken, expected)
}

#[test]
fn those_that_do_not_fit_stay_and_not_the_others_with_them() {
    // (connections of two descriptors, of four, room, expected to be moved)
    for (plains, pipes, room, moved) in
        [(40, 0, 79, 39), (100, 10, 100, 50), (0, 5, 13, 3), (3, 0, 1, 0), (3, 0, 99, 3)]
    {
        let piped = |id| connection(id, tunnel(pipe(b"x"), Held::Bytes(Vec::new()))).0;
        let old = Old::with((0..plains).map(plain).chain((plains..plains + pipes).map(piped)));
        let (ours, theirs) = channel::pair().unwrap();
        let running = thread::spawn(move || narrow(theirs, room));
        let receipt = predecessor(&old, task(ours, Features::all(), PATIENT)).receipt;
        let (taken, expected) = running.join().unwrap();
        let all = plains + pipes;
        assert_eq!(expected, all, "it was told before it accepted");
        assert_eq!((receipt.moved, receipt.drained, receipt.lost), (moved, all - moved, 0), "{}", receipt.reason);
        assert_eq!(taken.len() as u64, moved);
        assert!(old.ids().is_disjoint(&taken));
        let verdict = if moved == all { Verdict::Upgraded } else { Verdict::Draining };
        assert_eq!(receipt.verdict, verdict);
        assert_eq!(receipt.reason.contains("not moved: no room"), moved < all, "{}", receipt.reason);
    }
}
