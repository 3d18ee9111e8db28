//! Both stories over a real socket pair, and everything that can end them.

mod cells;
mod fakes;
mod stories;
