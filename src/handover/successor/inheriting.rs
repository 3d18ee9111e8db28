//! What comes before ready.

use super::{Arrival, unexpected};
use crate::{
    handover::{
        Extra, Inheritance, Setback,
        codec::{Kind, Message},
        convert::{self, Gathering, Wrong},
    },
    pb::handover as pb,
};

/// And how many sockets and extras.
pub(super) fn inherit(arrival: &mut Arrival) -> Result<(Inheritance, (u32, u32)), Setback> {
    let mut inheritance = Inheritance::default();
    let mut gathering = Gathering::default();
    let mut extras = 0u32;
    loop {
        let message = match arrival.next(arrival.deadlines.step) {
            Ok(message) => message,
            Err(Setback::PredecessorGone) => {
                inheritance.predecessor_gone = true;
                break;
            }
            Err(setback) => return Err(setback),
        };
        let Message { kind, sequence, fds } = message;
        match kind {
            Kind::Will(will) => inheritance.will = Some(convert::from_will(will).map_err(wrong)?),
            Kind::Sockets(sockets) => gathering.add(sockets, fds).map_err(wrong)?,
            Kind::Extras(named) if named.names.len() == fds.len() => {
                extras = extras.saturating_add(u32::try_from(fds.len()).unwrap_or(u32::MAX));
                let named = named.names.into_iter().zip(fds);
                inheritance.extras.extend(named.map(|(name, fd)| Extra { name, fd }));
            }
            Kind::Extras(named) => {
                return Err(Setback::Garbage(format!(
                    "{} file descriptors came under {} names",
                    fds.len(),
                    named.names.len()
                )));
            }
            Kind::Complete(complete) if (complete.sockets, complete.extras) == (gathering.count, extras) => {
                inheritance.complete = inheritance.will.is_some();
                break;
            }
            Kind::Complete(complete) => {
                return Err(Setback::Garbage(format!(
                    "{} listening sockets and {extras} others came of {} and {}",
                    gathering.count, complete.sockets, complete.extras
                )));
            }
            other => return Err(unexpected(&other, "Complete")),
        }
        match arrival.say(Kind::Got(pb::Got { sequence })) {
            // The next wait tells the same, after what it had sent.
            Ok(()) | Err(Setback::PredecessorGone) => {}
            Err(setback) => return Err(setback),
        }
    }
    if !inheritance.complete && !inheritance.predecessor_gone {
        return Err(Setback::Garbage("the predecessor left no will".to_owned()));
    }
    inheritance.sockets = gathering.listeners;
    Ok((inheritance, (gathering.count, extras)))
}

fn wrong(wrong: Wrong) -> Setback {
    Setback::Garbage(wrong.to_string())
}
