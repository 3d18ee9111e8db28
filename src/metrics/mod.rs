//! Figures of the data plane: counters that one worker writes and the scraper
//! reads, and how they become Prometheus families.
//!
//! A worker owns one [`WorkerShard`], one [`ListenerShard`] a listener and one
//! [`EndpointShard`] an endpoint; nobody else writes to them, so a count costs
//! a plain load and store and no cache line is contended.

mod counter;
mod shard;

pub use counter::{Counter, Histogram, HistogramSnapshot};
pub use shard::{EndpointShard, ListenerShard, PoolShard, WorkerShard};
