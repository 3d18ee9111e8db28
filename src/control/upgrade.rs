//! Handing everything to a successor, and being one.

mod types;

pub use types::*;
