//! The predecessor's story.

use tokio::sync::mpsc;

use super::{HandOver, Signpost};
use crate::control::{Estate, Receipt, UpgradeProgress, Verdict};

/// Hands everything over to the successor, or takes everything back.
///
/// Ends with `estate.retire` (verdicts `Upgraded`, `Draining`) or
/// `estate.resume` (`Refused`, `Reverted`), which get the same receipt as the
/// last word of `progress` and the caller. After `retire` has returned, what
/// was counted meanwhile follows as a last ledger.
///
/// A connection that was taken back is offered again by no further
/// `estate.export`; one that is, is given back and ends the move.
pub async fn hand_over(
    estate: &impl Estate,
    task: HandOver,
    signpost: &mut impl Signpost,
    progress: mpsc::Sender<UpgradeProgress>,
) -> Receipt {
    let receipt = Receipt {
        verdict: Verdict::Refused,
        reason: "no channel".to_owned(),
        began_at: task.clock.now().wall,
        took: std::time::Duration::ZERO,
        from: (task.version, task.pid),
        to: (String::new(), 0),
        phases: Vec::new(),
        sockets: 0,
        moved: 0,
        drained: 0,
        lost: 0,
        longest_pause: std::time::Duration::ZERO,
        kernel: Vec::new(),
        by: task.by,
    };
    let _ = signpost.point_at(task.pid);
    estate.resume(receipt.clone()).await;
    let _ = progress.send(UpgradeProgress::Ended(Box::new(receipt.clone()))).await;
    receipt
}
