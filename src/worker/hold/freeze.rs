//! Bytes on their way leave their worker, or arrive at another.

use super::{Hold, Place};
use crate::{
    config::Accelerate,
    sys::pipe::Pipe,
    wire::Buffer,
    worker::{parcel::Held, supplies::Supplies},
};

impl Hold {
    /// What is held, out of this worker's supplies. An empty place is given
    /// back.
    pub(in crate::worker) fn freeze(mut self, supplies: &mut Supplies) -> Held {
        match std::mem::replace(&mut self.place, Place::Block(Buffer::default())) {
            Place::Block(mut buffer) => Held::Bytes(buffer.take(&mut supplies.blocks)),
            Place::Pipe { pipe, held: 0 } => {
                supplies.pipes.give(pipe, true);
                Held::Bytes(Vec::new())
            }
            Place::Pipe { pipe, held } => {
                let (read, write) = supplies.pipes.release(pipe).into_ends();
                Held::Pipe { read, write, held }
            }
        }
    }

    /// What was held elsewhere. Whether the direction is bulky shows anew,
    /// unless a pipe says so.
    pub(in crate::worker) fn thaw(held: Held, accelerate: Accelerate, supplies: &mut Supplies) -> Self {
        let mut hold = Self::new(accelerate);
        match held {
            Held::Bytes(bytes) => hold.place = Place::Block(Buffer::holding(&mut supplies.blocks, bytes)),
            Held::Pipe { read, write, held } => {
                hold.bulky = true;
                hold.place = Place::Pipe { pipe: supplies.pipes.adopt(Pipe::adopt(read, write)), held };
            }
        }
        hold
    }
}
