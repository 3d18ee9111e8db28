//! What one direction of a relay holds between reading and writing, and where:
//! in a block, or, once the direction has proven bulky, in a pipe that the
//! bytes pass without entering this process.

mod freeze;

use std::io;

use crate::{
    config::Accelerate,
    sys::pipe::Pipe,
    wire::Buffer,
    worker::{
        supplies::Supplies,
        transport::{Read, Stream, Transport},
    },
};

/// Reads in a row that fill a block before a direction counts as bulky.
const BULKY: u8 = 4;
/// Moves through a pipe in a row that are smaller than [`SMALL`] before it
/// does not any more.
const THIN: u8 = 16;
/// Bytes for which a copy is as good.
const SMALL: usize = 16 << 10;

/// Bytes on their way.
#[derive(Debug)]
pub(super) struct Hold {
    place: Place,
    /// Reads in a row that speak for the other place.
    streak: u8,
    /// Splicing may be tried.
    accelerate: bool,
    /// Splicing is wanted whatever the direction proves to be.
    always: bool,
    /// The direction has proven bulky.
    bulky: bool,
}

#[derive(Debug)]
enum Place {
    Block(Buffer),
    Pipe { pipe: Pipe, held: usize },
}

impl Hold {
    pub(super) fn new(accelerate: Accelerate) -> Self {
        let always = accelerate == Accelerate::Splice;
        Self {
            place: Place::Block(Buffer::default()),
            streak: 0,
            accelerate: accelerate != Accelerate::Off,
            always,
            bulky: false,
        }
    }

    /// Holds these, and what can be read behind them; only while empty. That
    /// the read found the end, or an error, the next one finds again.
    pub(super) fn begin_with<S: Stream>(&mut self, bytes: Vec<u8>, source: &mut Transport<S>, supplies: &mut Supplies) {
        let room = bytes.len() < supplies.blocks.block_size();
        let mut buffer = Buffer::holding(&mut supplies.blocks, bytes);
        if room && source.readable && !source.failed {
            source.readable = match source.fill(&mut buffer, &mut supplies.blocks) {
                Ok((Read::Bytes | Read::Nothing, _)) => source.readable,
                Ok((Read::End, _)) | Err(_) => true,
            };
        }
        self.place = Place::Block(buffer);
    }

    pub(super) fn is_empty(&self) -> bool {
        match &self.place {
            Place::Block(buffer) => buffer.is_empty(),
            Place::Pipe { held, .. } => *held == 0,
        }
    }

    /// Much has gone through it lately.
    pub(super) fn is_bulky(&self) -> bool {
        self.bulky
    }

    pub(super) fn is_spliced(&self) -> bool {
        matches!(self.place, Place::Pipe { .. })
    }

    /// Reads once; only while empty.
    pub(super) fn fill<S: Stream>(&mut self, source: &mut Transport<S>, supplies: &mut Supplies) -> io::Result<Read> {
        self.settle(source.urgent, supplies);
        match &mut self.place {
            Place::Block(buffer) => {
                let (read, full) = source.fill(buffer, &mut supplies.blocks)?;
                // Bulky already, it only found no pipe to be had.
                self.streak = if full && !self.bulky { self.streak.saturating_add(1) } else { 0 };
                Ok(read)
            }
            Place::Pipe { pipe, held } => match source.fill_pipe(pipe, supplies.pipes.go(pipe))? {
                Some(n) => {
                    *held = n;
                    self.streak = match n {
                        0 => self.streak,
                        1..SMALL => self.streak.saturating_add(1),
                        _ => 0,
                    };
                    Ok(if n == 0 { Read::Nothing } else { Read::Bytes })
                }
                None => {
                    self.clear(supplies);
                    let mut buffer = Buffer::default();
                    let (read, _) = source.fill(&mut buffer, &mut supplies.blocks)?;
                    self.place = Place::Block(buffer);
                    Ok(read)
                }
            },
        }
    }

    /// Writes once; only while not empty.
    pub(super) fn flush<S: Stream>(
        &mut self,
        sink: &mut Transport<S>,
        last: bool,
        supplies: &mut Supplies,
    ) -> io::Result<()> {
        match &mut self.place {
            Place::Block(buffer) => sink.flush(buffer, last, &mut supplies.blocks).map(drop),
            Place::Pipe { pipe, held } => {
                *held -= sink.flush_pipe(pipe, *held)?.min(*held);
                Ok(())
            }
        }
    }

    /// Nothing is there to be read: an idle connection keeps no pipe.
    pub(super) fn rest(&mut self, supplies: &mut Supplies) {
        if matches!(self.place, Place::Pipe { held: 0, .. }) {
            self.leave(supplies);
        }
    }

    /// Drops what is held, gives back where it was, and copies from now on:
    /// what is thrown away need not be fast.
    pub(super) fn sink(&mut self, supplies: &mut Supplies) {
        self.accelerate = false;
        self.clear(supplies);
    }

    /// Drops what is held, and gives back where it was.
    pub(super) fn clear(&mut self, supplies: &mut Supplies) {
        (self.streak, self.bulky) = (0, false);
        self.leave(supplies);
    }

    /// Moves to the other place, if the last reads speak for it.
    fn settle(&mut self, urgent: bool, supplies: &mut Supplies) {
        self.accelerate &= !urgent;
        if self.streak >= if self.bulky { THIN } else { BULKY } {
            (self.streak, self.bulky) = (0, !self.bulky);
        }
        self.bulky = (self.bulky || self.always) && self.accelerate;
        match &self.place {
            Place::Block(buffer) if self.bulky && buffer.is_empty() => {
                if let Some(pipe) = supplies.pipes.take() {
                    self.place = Place::Pipe { pipe, held: 0 };
                }
            }
            Place::Pipe { held: 0, .. } if !self.bulky => self.leave(supplies),
            _ => {}
        }
    }

    fn leave(&mut self, supplies: &mut Supplies) {
        match std::mem::replace(&mut self.place, Place::Block(Buffer::default())) {
            Place::Block(mut buffer) => buffer.clear(&mut supplies.blocks),
            Place::Pipe { pipe, held } => supplies.pipes.give(pipe, held == 0),
        }
    }
}
