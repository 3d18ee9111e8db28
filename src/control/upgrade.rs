//! Handing everything to a successor, and being one.
//!
//! The story of an upgrade ([`Story`]) runs beside the Controller, which gives
//! it a handle ([`EstateHandle`], [`HeirHandle`]) and does what it asks for, one
//! thing after the other (`conduct`, `lend`; `heir` on the other side). Ids of
//! objects mean nothing in another process: `moves` knows them by name, `retired`
//! makes a place for names that are not in the configuration any more. `ledger`
//! and `will` are what a successor must know; `adopt` matches a predecessor's
//! sockets with the configuration.

mod adopt;
mod conduct;
mod expected;
mod heir;
mod ledger;
mod lend;
mod moves;
mod orders;
mod retired;
mod types;
mod will;
mod words;

pub(super) use adopt::Adoption;
pub(super) use conduct::Upgrades;
pub use conduct::{Begin, Story};
pub(super) use orders::Order;
pub use orders::{EstateHandle, HeirHandle};
pub use types::*;
pub(super) use will::{Legacy, started};

#[cfg(test)]
mod tests;
