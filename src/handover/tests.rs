//! Both stories over a real socket pair, and everything that can end them.

mod cells;
pub(super) mod fakes;
mod room;
mod stories;
