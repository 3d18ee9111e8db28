//! Time without a clock: deadlines on a wheel.

mod wheel;

pub use wheel::{TICK, TimerId, Wheel};
