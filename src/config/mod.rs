//! The configuration: what the operator wrote, checked into types that cannot
//! be wrong. Nothing downstream validates again.
//!
//! Pure: text in, [`Config`] or all errors of the text out. Reading files and
//! the environment is the caller's.

mod types;

pub use types::*;
