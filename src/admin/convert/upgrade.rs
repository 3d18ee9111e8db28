//! Upgrades: requests, progress and receipts.

use std::path::PathBuf;

use super::{incoming::provenance, outgoing};
use crate::{
    control::{self, Refusal},
    pb::{self, upgrade_progress::Of},
};

/// A request for an upgrade; `peer` where it does not say who.
pub(in crate::admin) fn request(request: pb::UpgradeRequest, peer: &str) -> Result<control::UpgradeRequest, Refusal> {
    let pb::UpgradeRequest { binary, config, rollback, by } = request;
    let path = |field: &str, path: String| match path {
        path if path.is_empty() => Ok(None),
        path if path.starts_with('/') => Ok(Some(PathBuf::from(path))),
        path => Err(Refusal::Invalid(format!("{field} is `{path}`; it must be an absolute path"))),
    };
    let (binary, config) = (path("binary", binary)?, path("config", config)?);
    if rollback && (binary.is_some() || config.is_some()) {
        let text = "rollback starts the binary before this one as it was started; leave binary and config out";
        return Err(Refusal::Invalid(text.to_owned()));
    }
    Ok(control::UpgradeRequest { binary, config, rollback, by: provenance(by, peer)? })
}

/// What the asker sees.
pub(in crate::admin) fn progress(progress: control::UpgradeProgress) -> pb::UpgradeProgress {
    let of = match progress {
        control::UpgradeProgress::Reached(reached, at) => Of::Reached(phase((reached, at))),
        control::UpgradeProgress::Moved { moved, of } => Of::Moved(pb::UpgradeMoved { moved, of }),
        control::UpgradeProgress::Ended(ended) => Of::Ended(Box::new(receipt(*ended))),
    };
    pb::UpgradeProgress { of: Some(of) }
}

/// The proof.
pub(in crate::admin) fn receipt(receipt: control::Receipt) -> pb::UpgradeReceipt {
    pb::UpgradeReceipt {
        verdict: receipt.verdict.as_str().to_owned(),
        reason: receipt.reason,
        by: Some(pb::Provenance { who: receipt.by.who, why: receipt.by.why }),
        began_at: outgoing::at(receipt.began_at),
        took: outgoing::lasting(receipt.took),
        from_version: receipt.from.0,
        from_pid: receipt.from.1,
        to_version: receipt.to.0,
        to_pid: receipt.to.1,
        phases: receipt.phases.into_iter().map(phase).collect(),
        sockets: receipt.sockets,
        moved: receipt.moved,
        drained: receipt.drained,
        lost: receipt.lost,
        longest_pause: outgoing::lasting(receipt.longest_pause),
        kernel: receipt.kernel.into_iter().map(figure).collect(),
    }
}

fn phase((phase, at): (control::Phase, std::time::Duration)) -> pb::UpgradePhase {
    pb::UpgradePhase { phase: phase.as_str().to_owned(), at: outgoing::lasting(at) }
}

fn figure((name, before, after): (String, u64, u64)) -> pb::KernelFigure {
    pb::KernelFigure { name, before, after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_a_rollback_has_none() {
        let ask = |binary: &str, config: &str, rollback| {
            let asked = pb::UpgradeRequest { binary: binary.into(), config: config.into(), rollback, by: None };
            request(asked, "root")
        };
        let asked = ask("/usr/sbin/netd", "", false).unwrap();
        assert_eq!((asked.binary, asked.config), (Some(PathBuf::from("/usr/sbin/netd")), None));
        assert_eq!(asked.by.who, "root");
        assert!(matches!(ask("netd", "", false), Err(Refusal::Invalid(text)) if text.contains("absolute")));
        assert!(matches!(ask("", "netd.toml", false), Err(Refusal::Invalid(text)) if text.contains("config")));
        assert!(matches!(ask("", "/etc/x", true), Err(Refusal::Invalid(text)) if text.contains("rollback")));
        assert!(ask("", "", true).unwrap().rollback);
    }
}
