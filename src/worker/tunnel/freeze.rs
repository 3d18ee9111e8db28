//! A relay leaves its worker, or arrives at another.

use std::time::Instant;

use super::{Flow, State, Tunnel};
use crate::{
    config::Accelerate,
    worker::{
        hold::Hold,
        parcel::{FlowState, ParcelFlow},
        supplies::Supplies,
    },
};

/// A tunnel without its worker.
#[derive(Debug)]
pub(in crate::worker) struct Frozen {
    pub(in crate::worker) up: ParcelFlow,
    pub(in crate::worker) down: ParcelFlow,
    pub(in crate::worker) upstream_ended_first: bool,
    pub(in crate::worker) upstream_gone: bool,
    pub(in crate::worker) sink_until: Option<Instant>,
}

impl Tunnel {
    pub(in crate::worker) fn freeze(self, supplies: &mut Supplies) -> Frozen {
        let Self { up, down, upstream_ended_first, upstream_gone, sink_until } = self;
        let (up, down) = (up.freeze(supplies), down.freeze(supplies));
        Frozen { up, down, upstream_ended_first, upstream_gone, sink_until }
    }

    pub(in crate::worker) fn thaw(frozen: Frozen, accelerate: Accelerate, supplies: &mut Supplies) -> Self {
        let Frozen { up, down, upstream_ended_first, upstream_gone, sink_until } = frozen;
        let (up, down) = (Flow::thaw(up, accelerate, supplies), Flow::thaw(down, accelerate, supplies));
        Self { up, down, upstream_ended_first, upstream_gone, sink_until }
    }
}

impl Flow {
    fn freeze(self, supplies: &mut Supplies) -> ParcelFlow {
        let state = match self.state {
            State::Open => FlowState::Open,
            State::Ending => FlowState::Ending,
            State::Ended => FlowState::Ended,
            State::Sinking => FlowState::Sinking,
        };
        ParcelFlow { state, held: self.hold.freeze(supplies) }
    }

    fn thaw(flow: ParcelFlow, accelerate: Accelerate, supplies: &mut Supplies) -> Self {
        let (state, accelerate) = match flow.state {
            FlowState::Open => (State::Open, accelerate),
            FlowState::Ending => (State::Ending, accelerate),
            FlowState::Ended => (State::Ended, accelerate),
            // What is thrown away need not be fast.
            FlowState::Sinking => (State::Sinking, Accelerate::Off),
        };
        Self { state, hold: Hold::thaw(flow.held, accelerate, supplies) }
    }
}
