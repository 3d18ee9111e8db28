//! The Controller in an upgrade, with the story told by hand.

use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use super::{Begin, Estate, EstateHandle, Receipt, UpgradeProgress, UpgradeRequest, Verdict};
use crate::control::{
    End, EndpointOverride, Hook, Refusal, Request, SetEndpoint, StopRequest, Target,
    testing::{World, by, on_control_thread, usual},
};

async fn ask(world: &World) -> Result<mpsc::Receiver<UpgradeProgress>, Refusal> {
    let request = UpgradeRequest { by: by("anna"), ..UpgradeRequest::default() };
    world.ask(|reply| Request::Upgrade(request, reply)).await
}

fn begun(world: &World) -> Begin {
    world.stories.lock().unwrap().pop().expect("a story has begun")
}

fn receipt(verdict: Verdict) -> Receipt {
    Receipt::failed(verdict, "by hand".to_owned(), by("anna"), SystemTime::UNIX_EPOCH, "0.0.0")
}

async fn stop(world: &World) -> Result<(), Refusal> {
    let request = StopRequest { name: "echo".to_owned(), expires_in: None, by: by("bob") };
    world.ask(|reply| Request::StopListener(request, reply)).await
}

#[test]
fn it_is_the_only_change_until_it_has_failed() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let _progress = ask(&world).await.unwrap();
        let begin = begun(&world);
        assert_eq!(begin.request.by, by("anna"));
        for refused in [ask(&world).await.map(|_| ()), stop(&world).await] {
            assert!(matches!(&refused, Err(Refusal::Busy(text)) if text.contains("by anna")), "{refused:?}");
        }
        begin.estate.stop_accepting().await.unwrap();
        begin.estate.resume(receipt(Verdict::Refused)).await;
        let told = world.told();
        assert!(told.ends_with(&["pause".to_owned(), "resume".to_owned()]), "{told:?}");
        let kept = world.ask(Request::Upgrades).await.unwrap();
        assert_eq!(kept.iter().map(|each| each.verdict).collect::<Vec<_>>(), [Verdict::Refused]);
        assert_eq!(stop(&world).await, Ok(()));
        ask(&world).await.unwrap();
    });
}

#[test]
fn a_story_that_breaks_off_is_an_upgrade_that_failed() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        ask(&world).await.unwrap();
        drop(begun(&world));
        let done = || async { world.ask(Request::Upgrades).await.unwrap().len() };
        while done().await == 0 {}
        assert_eq!(stop(&world).await, Ok(()));
    });
}

#[test]
fn a_stop_meanwhile_ends_the_story_and_then_drains() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        ask(&world).await.unwrap();
        let begin = begun(&world);
        world.signals.send(crate::control::Signal::Term("SIGTERM")).await.unwrap();
        while begin.estate.will().await.is_ok() {}
        assert!(matches!(begin.estate.stop_accepting().await, Err(Refusal::ShuttingDown)));
        begin.estate.resume(receipt(Verdict::Refused)).await;
        drop(begin);
        assert_eq!(world.end().await, Ok(End::Stopped));
    });
}

/// All that the story of a predecessor does.
async fn hand_over(world: &World, estate: &EstateHandle) -> usize {
    let will = estate.will().await.unwrap();
    assert_eq!(will.overrides.endpoints.len(), 2, "a weight and a drain");
    assert_eq!(will.drains.iter().map(|(target, ..)| target.clone()).collect::<Vec<_>>(), [drained()]);
    let accepted = |ledger: &super::Ledger| ledger.listeners.iter().map(|(_, each)| each.accepted).sum::<u64>();
    assert_eq!(accepted(&will.ledger), 2);
    let sockets = estate.sockets().await.unwrap();
    let count: Vec<_> = sockets.iter().map(|each| (each.name.as_str(), each.sockets.len())).collect();
    assert_eq!(count, [("echo", 2), ("web", 2)], "one a worker");
    assert!(sockets.iter().all(|each| each.settings.contains(&each.name)));
    world.workers[0].accept("web", 3);
    estate.stop_accepting().await.unwrap();
    let mut moved = 0;
    loop {
        let some = estate.export(2).await.unwrap();
        if some.is_empty() {
            break;
        }
        assert!(some.iter().all(|each| each.listener == "web" && each.endpoint.is_some()));
        moved += some.len();
    }
    assert_eq!(accepted(&estate.ledger().await.unwrap()), 1, "since the will");
    assert_eq!(estate.open().await, 0);
    moved
}

fn drained() -> Target {
    Target::Endpoint("db".to_owned(), "10.0.0.1:5432".to_owned())
}

#[test]
fn after_everything_is_handed_over_it_ends_and_closes_nothing() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.workers[0].accept("web", 1);
        world.workers[1].accept("web", 2);
        let request = SetEndpoint {
            pool: "db".to_owned(),
            endpoint: "10.0.0.2:5432".to_owned(),
            setting: Some(EndpointOverride::Weight(7)),
            expires_in: Some(Duration::from_secs(3600)),
            by: by("anna"),
        };
        world.ask(|reply| Request::SetEndpoint(request, reply)).await.unwrap();
        let request = crate::control::DrainRequest {
            target: drained(),
            deadline: crate::control::Deadline::Never,
            by: by("bob"),
        };
        let _progress = world.ask(|reply| Request::Drain(request, reply)).await.unwrap();
        let _progress = ask(&world).await;
        let Begin { estate, .. } = begun(&world);
        let moved = tokio::time::timeout(Duration::from_secs(10), hand_over(&world, &estate)).await.unwrap();
        assert_eq!(moved, 3);
        estate.retire(receipt(Verdict::Upgraded)).await;
        let refused = stop(&world).await;
        assert!(matches!(&refused, Err(Refusal::Busy(text)) if text.contains("successor")), "{refused:?}");
        drop(estate);
        let hooks = world.hooks.clone();
        let workers = world.workers.clone();
        assert_eq!(world.end().await, Ok(End::Succeeded { stop: false }));
        let hooks = hooks.lock().unwrap().clone();
        assert!(!hooks.contains(&Hook::Stopping) && hooks.contains(&Hook::Answer(false)), "{hooks:?}");
        for worker in workers {
            let log = worker.inner().log.clone();
            assert!(
                log.contains(&"release web".to_owned()) && !log.iter().any(|line| line.starts_with("stop")),
                "{log:?}"
            );
        }
    });
}
