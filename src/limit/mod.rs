//! How much is let in: rates, lists of networks, budgets, overload. Pure:
//! addresses, loads and time in, yes or no out.

mod budget;
mod networks;
mod overload;
mod rate;
mod refused;
mod sources;
mod spread;

pub use budget::RetryBudget;
pub use networks::{Network, Networks};
pub use overload::{IDLE, Level, Load, Overload, REFUSE};
pub use rate::{Arrivals, Rate};
pub use refused::{Refused, RefusedKind};
pub use sources::{Sources, source_of};
pub use spread::spread;
