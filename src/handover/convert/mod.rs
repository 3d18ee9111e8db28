//! netd's words and the messages' words.

mod connection;
mod expected;
mod history;
mod ledger;
mod own;
mod receipt;
mod sockets;
mod will;

use std::time::{Duration, SystemTime};

pub(super) use connection::{feature, from_connection, to_connection};
pub(super) use expected::{from_expected, to_expected};
pub(super) use ledger::{from_ledger, to_ledger};
pub(super) use receipt::{from_receipt, to_receipt};
pub(super) use sockets::{Gathering, chunks};
pub(super) use will::{from_will, to_will};

use crate::{control::Provenance, pb::handover as pb};

/// What is wrong with a message, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Wrong(pub(super) String);

fn wrong<T>(text: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong(text.into()))
}

fn there<T>(value: Option<T>, what: &str) -> Result<T, Wrong> {
    value.ok_or_else(|| Wrong(format!("{what} is missing")))
}

fn from_time(time: Option<prost_types::Timestamp>, what: &str) -> Result<SystemTime, Wrong> {
    SystemTime::try_from(there(time, what)?).map_err(|error| Wrong(format!("{what}: {error}")))
}

fn from_optional_time(time: Option<prost_types::Timestamp>, what: &str) -> Result<Option<SystemTime>, Wrong> {
    time.map(|time| from_time(Some(time), what)).transpose()
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn to_provenance(by: &Provenance) -> Option<pb::Provenance> {
    Some(pb::Provenance { who: by.who.clone(), why: by.why.clone() })
}

fn from_provenance(by: Option<pb::Provenance>) -> Provenance {
    let pb::Provenance { who, why } = by.unwrap_or_default();
    Provenance { who, why }
}

#[cfg(test)]
mod tests;
