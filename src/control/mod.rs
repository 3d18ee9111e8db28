//! The part that decides. [`Request`]s come in over a [`Handle`]; the
//! Controller answers them, one change in flight at a time.

mod handle;
mod request;

pub use handle::Handle;
pub use request::*;
