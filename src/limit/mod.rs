//! How much is let in: rates, lists of networks, budgets. Pure: addresses and
//! time in, yes or no out.

mod budget;
mod networks;
mod rate;
mod sources;

pub use budget::RetryBudget;
pub use networks::{Network, Networks};
pub use rate::{Arrivals, Rate};
pub use sources::Sources;
