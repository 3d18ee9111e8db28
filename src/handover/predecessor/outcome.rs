//! The two ends of the story.

use std::time::Duration;

use super::{Failure, Stage, Story};
use crate::{
    control::{Estate, Receipt, Verdict},
    handover::{Signpost, codec::Kind},
    pb::handover as pb,
    process::successor::{self, Successor},
};

/// How long a process that has closed the channel may take to end.
const EXIT: Duration = Duration::from_secs(1);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(5);

impl<E: Estate, S: Signpost> Story<'_, E, S> {
    /// The successor has everything.
    pub(super) async fn retire(&mut self, receipt: Receipt) -> Receipt {
        let receipt = self.account.end(receipt).await;
        self.places.clear();
        self.estate.retire(receipt.clone()).await;
        // Whatever it counted while it drained. The successor may be gone: it is not needed any more.
        if let Ok(Some(ledger)) = self.ledger().await {
            let _ = self.send(Kind::Settle(pb::Settle { ledger: Some(ledger), receipt: None })).await;
        }
        let _ = self.send(Kind::Bye(pb::Bye {})).await;
        receipt
    }

    /// The successor must go; everything is this process's again.
    pub(super) async fn undo(&mut self, failure: Failure) -> Receipt {
        let Failure(reason) = failure;
        // It must not take the end of the channel for the end of this process.
        let off = Kind::CalledOff(pb::CalledOff { reason: reason.clone() });
        let _ = self.line.send(off, &[], Duration::ZERO).await;
        if let Some(successor) = &mut self.successor {
            successor.kill();
        }
        self.recover().await;
        self.places.clear();
        if self.stage == Stage::Pointed
            && let Err(trouble) = self.signpost.point_at(self.account.from.1)
        {
            self.account.troubles.push(trouble);
        }
        let verdict = if self.stage == Stage::Preparing { Verdict::Refused } else { Verdict::Reverted };
        let receipt = self.account.receipt(verdict, reason, 0);
        self.estate.resume(receipt.clone()).await;
        self.account.end(receipt).await
    }

    /// In words; for a process that can be watched, with how it ended.
    pub(super) async fn end_of_successor(&mut self) -> String {
        let status = match &mut self.successor {
            Some(successor) => exit_status(successor).await,
            None => None,
        };
        match status {
            Some(status) => format!("the successor has ended: {}", successor::describe(status)),
            None => "the successor has closed the channel".to_owned(),
        }
    }
}

async fn exit_status(successor: &mut Successor) -> Option<std::process::ExitStatus> {
    let watched = async {
        loop {
            if let Some(status) = successor.exited() {
                return status;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(EXIT, watched).await.ok()
}
