//! The rules of one connection: bytes, marks and time in; steps out.

mod close;

pub use close::{By, Cause, CloseReason, Phase};
