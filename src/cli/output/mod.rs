//! Answers made readable. Pure but for [`Console`], which writes.

pub(crate) mod changes;
pub(crate) mod checks;
pub(crate) mod choice;
pub(crate) mod connections;
mod console;
pub(crate) mod events;
mod grid;
pub(crate) mod history;
mod json;
pub(crate) mod objects;
pub(crate) mod progress;
pub(crate) mod receipt;
pub(crate) mod status;
pub(crate) mod units;
pub(crate) mod why;

pub(crate) use console::{Console, Look};
pub(crate) use json::ToJson;
