//! Evening connections over the workers.

use super::Session;
use crate::{cli::exit::Failure, pb};

impl Session<'_, '_> {
    pub(super) async fn rebalance(&mut self, limit: Option<u64>) -> Result<(), Failure> {
        let request = pb::RebalanceRequest { limit: limit.unwrap_or_default(), by: self.by() };
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().rebalance(request)).await?;
        self.console.answer(&answer, |_| said(&answer.moved))
    }
}

fn said(moved: &[pb::Moved]) -> String {
    if moved.is_empty() {
        return "Nothing moved: all workers have as many connections as they should.\n".to_owned();
    }
    let line = |each: &pb::Moved| {
        let s = if each.connections == 1 { "" } else { "s" };
        format!("{} connection{s} moved from worker {} to worker {}.\n", each.connections, each.from, each.to)
    };
    moved.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_moved_is_said_in_words() {
        let moved = [pb::Moved { from: 0, to: 1, connections: 50 }, pb::Moved { from: 0, to: 2, connections: 1 }];
        assert_eq!(
            said(&moved),
            "50 connections moved from worker 0 to worker 1.\n1 connection moved from worker 0 to worker 2.\n"
        );
        assert!(said(&[]).starts_with("Nothing moved"));
    }
}
