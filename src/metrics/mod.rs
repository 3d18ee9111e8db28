//! Figures of the data plane: counters that one worker writes and the scraper
//! reads, and how they become Prometheus families.
//!
//! A worker owns one [`WorkerShard`], one [`ListenerShard`] a listener and one
//! [`EndpointShard`] an endpoint; nobody else writes to them, so a count costs
//! a plain load and store and no cache line is contended. [`Family`] builds
//! what is published, [`Format`] writes it out; there is no registry.

mod counter;
mod exposition;
mod family;
mod shard;

pub use counter::{Counter, Histogram, HistogramSnapshot};
pub use exposition::Format;
pub use family::{Bounds, Family};
pub use shard::{EndpointShard, ListenerShard, PoolShard, REFUSALS, WorkerShard};
