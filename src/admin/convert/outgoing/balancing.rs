//! Answers about the sharing out of connections.

use super::{index, override_};
use crate::{control, pb};

/// A listener's pools.
pub(in crate::admin) fn shares(shares: Vec<control::ShareView>) -> Vec<pb::PoolShare> {
    let share = |share: control::ShareView| pb::PoolShare {
        pool: share.pool,
        configured_weight: share.configured_weight.into(),
        weight: share.weight.into(),
    };
    shares.into_iter().map(share).collect()
}

/// What stands above the file's shares.
pub(in crate::admin) fn split(split: Option<control::Override<control::Split>>) -> Option<pb::Override> {
    split.map(|over| override_(over, |split| split.to_string()))
}

/// Where a connection would go.
pub(in crate::admin) fn choice(view: control::ChoiceView) -> pb::ExplainResponse {
    pb::ExplainResponse {
        listener: view.listener,
        hash: view.hash.as_str().to_owned(),
        shares: shares(view.shares),
        split_override: split(view.split),
        workers: view.workers.into_iter().map(worker).collect(),
        pools: view.pools.into_iter().map(pool).collect(),
        refused_by: view.refused_by,
        explanation: view.sentence,
        notes: view.notes,
    }
}

fn worker(choice: control::WorkerChoice) -> pb::WorkerChoice {
    pb::WorkerChoice {
        worker: index(choice.worker),
        pool: choice.pool,
        endpoint: choice.endpoint.unwrap_or_default(),
        why: choice.why,
    }
}

fn pool(choice: control::PoolChoice) -> pb::PoolChoice {
    pb::PoolChoice {
        pool: choice.name,
        policy: choice.policy.as_str().to_owned(),
        endpoints: choice.endpoints.into_iter().map(endpoint).collect(),
        more: index(choice.more),
        open: index(choice.open),
    }
}

fn endpoint(choice: control::EndpointChoice) -> pb::EndpointChoice {
    pb::EndpointChoice {
        address: choice.address,
        weight: choice.weight.into(),
        share_percent: choice.percent,
        backup: choice.backup,
        load: choice.load,
        max_connections: choice.max_connections.unwrap_or_default(),
        out: choice.out.unwrap_or_default(),
    }
}
