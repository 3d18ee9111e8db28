//! Trials, rollbacks and the history, over the Unix socket.

use super::fake::{Server, run};
use crate::pb;

#[test]
fn a_reload_on_trial_is_asked_for_and_shown_whole() {
    run(async {
        let server = Server::start();
        let mut client = server.client().await;
        let request = pb::ReloadRequest {
            confirm_within: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            guard: Some(pb::Guard { threshold_percent: 7, ..Default::default() }),
            ..Default::default()
        };
        let answer = client.reload(request).await.expect("answers").into_inner();
        let pending = answer.pending.expect("on trial");
        assert_eq!((pending.generation, pending.former, pending.must_confirm), (4, 3, true));
        assert_eq!(pending.until.map(|at| at.seconds), Some(60));
        let guard = pending.guard.expect("guarded");
        assert_eq!((guard.threshold_percent, guard.min_connections), (5, 20));
        assert_eq!(guard.watch.map(|watch| watch.seconds), Some(60));
        let seen = server.fake.script(|script| script.seen.last().cloned()).expect("a request");
        assert!(seen.contains("confirm_within: Some(60s)") && seen.contains("threshold: 7"), "{seen}");

        let status = client.get_status(pb::GetStatusRequest {}).await.expect("answers").into_inner();
        assert_eq!((status.restored_from, status.restored_by.as_str()), (2, "anna"));
        assert_eq!(status.pending, Some(pending));
        let plan = client.plan(pb::PlanRequest::default()).await.expect("answers").into_inner();
        assert_eq!(plan.notes, ["a note"]);
    });
}

#[test]
fn confirmations_and_rollbacks_reach_control_with_who_and_why() {
    run(async {
        let server = Server::start();
        let mut client = server.client().await;
        let by = || Some(pb::Provenance { who: "bert".into(), why: "ticket 7".into() });
        let confirmed = client.confirm(pb::ConfirmRequest { generation: 4, by: by() }).await.expect("answers");
        assert_eq!(confirmed.into_inner().generation, 4);
        let request = pb::RollbackRequest { generation: 2, expected_generation: 4, by: by() };
        let answer = client.rollback(request).await.expect("answers").into_inner();
        assert_eq!((answer.generation, answer.restored, answer.changes.len()), (5, 2, 1));
        let own = client.rollback(pb::RollbackRequest { by: by(), ..Default::default() }).await.expect("answers");
        assert_eq!(own.into_inner().restored, 3);

        let seen = server.fake.script(|script| std::mem::take(&mut script.seen));
        let changes: Vec<&String> = seen
            .iter()
            .filter(|request| request.contains("ConfirmRequest") || request.contains("RollbackRequest"))
            .collect();
        let numbers = ["generation: Some(4)", "generation: Some(2), expected_generation: Some(4)", "generation: None"];
        assert_eq!(changes.len(), numbers.len(), "{seen:?}");
        for (request, number) in changes.into_iter().zip(numbers) {
            assert!(request.contains(number) && request.contains("who: \"bert\", why: \"ticket 7\""), "{request}");
        }
    });
}

#[test]
fn the_history_has_all_of_every_change() {
    run(async {
        let server = Server::start();
        let mut client = server.client().await;
        let entries = client.get_history(pb::GetHistoryRequest {}).await.expect("answers").into_inner().entries;
        let entry = &entries[0];
        assert_eq!((entry.kind.as_str(), entry.generation, entry.origin.as_str()), ("rollback", 4, "generation 2"));
        assert_eq!((entry.verdict.as_str(), entry.reason.as_str()), ("pending", "on trial"));
        assert_eq!(entry.by.as_ref().map(|by| by.who.as_str()), Some("anna"));
        assert_eq!((entry.in_force, entry.kept, entry.more_changes, entry.changes.len()), (true, true, 3, 1));
        assert_eq!(entry.at.map(|at| at.seconds), Some(7));
    });
}
