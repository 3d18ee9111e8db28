use crate::{
    config::{Config, Rebalance},
    control::{
        Candidate, ConnectionFilter, ConnectionQuery, Moved, RebalanceRequest, ReloadRequest, Request, Terms,
        WorkerPort,
        testing::{World, by, on_control_thread, quick, usual},
    },
};

/// Open connections of each worker.
fn open(world: &World) -> Vec<u64> {
    world.spawned.lock().unwrap().iter().map(|worker| worker.shard().active.get()).collect()
}

async fn rebalance(world: &World, limit: Option<u64>) -> Vec<Moved> {
    let request = RebalanceRequest { limit, by: by("ann") };
    world.ask(|reply| Request::Rebalance(request, reply)).await.unwrap()
}

/// Ids of all connections, with the index of their worker.
async fn connections(world: &World) -> Vec<(u64, usize)> {
    let query = ConnectionQuery { filter: ConnectionFilter::default(), after: None, page_size: 1000 };
    let page = world.ask(|reply| Request::Connections(query, reply)).await.unwrap();
    page.connections.into_iter().map(|view| (view.id, view.worker)).collect()
}

async fn reload(world: &World, alter: impl FnOnce(&mut Config)) {
    let mut config = usual();
    alter(&mut config);
    world.set_source(Ok(config));
    let request = ReloadRequest {
        candidate: Candidate::Source,
        expected_generation: None,
        terms: Terms::default(),
        by: by("ann"),
    };
    world.ask(|reply| Request::Reload(request, reply)).await.unwrap();
}

#[test]
fn by_hand_all_workers_have_as_many() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        (1..=300).for_each(|id| world.workers[0].accept("web", id));
        assert_eq!(rebalance(&world, Some(10)).await, [Moved { from: 0, to: 1, count: 10 }]);
        assert_eq!(rebalance(&world, None).await, [Moved { from: 0, to: 1, count: 140 }]);
        assert_eq!(open(&world), [150, 150]);
        assert_eq!(rebalance(&world, None).await, []);
        assert!(connections(&world).await.iter().map(|(id, _)| *id).eq(1..=300), "none is lost or doubled");
        let snapshot = world.ask(Request::Snapshot).await.unwrap();
        assert_eq!((snapshot.status.figures.active, snapshot.status.figures.total), (300, 300));
        assert_eq!((snapshot.workers[0].moved_out, snapshot.workers[1].moved_in), (150, 150));
        let endpoints: u64 = snapshot.pools.iter().flat_map(|pool| &pool.endpoints).map(|each| each.active).sum();
        assert_eq!(endpoints, 300);
    });
}

#[test]
fn the_number_of_workers_changes_and_nobody_is_lost() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        (1..=100).for_each(|id| world.workers[0].accept("web", id));
        reload(&world, |config| config.workers.count = Some(4)).await;
        let workers = world.spawned.lock().unwrap().clone();
        assert_eq!(workers.len(), 4);
        let names = |worker: usize| -> Vec<String> {
            workers[worker].inner().listeners.values().map(|spec| spec.config.name.clone()).collect()
        };
        world.until("all accept", || (0..4).all(|worker| names(worker) == names(0))).await;
        (101..=200).for_each(|id| workers[3].accept("web", id));
        reload(&world, |config| config.workers.count = Some(1)).await;
        assert_eq!(open(&world)[0], 200, "all are with the one that stays");
        assert!(workers[1..].iter().all(WorkerPort::is_finished) && !workers[0].is_finished());
        assert!(connections(&world).await.into_iter().eq((1..=200).map(|id| (id, 0))));
        let snapshot = world.ask(Request::Snapshot).await.unwrap();
        assert_eq!((snapshot.status.figures.active, snapshot.status.figures.total), (200, 200));
        assert_eq!((snapshot.workers.len(), snapshot.reloads), (1, (2, 0)));
        // Their sockets went to the one that stays, before it ends they are its.
        assert!(workers[0].inner().log.iter().filter(|line| *line == "add web").count() >= 4);
        reload(&world, |config| config.workers.count = Some(2)).await;
        assert_eq!(rebalance(&world, None).await, [Moved { from: 0, to: 1, count: 100 }]);
        let snapshot = world.ask(Request::Snapshot).await.unwrap();
        assert_eq!((snapshot.status.figures.active, snapshot.status.figures.total), (200, 200));
    });
}

#[test]
fn by_itself_only_if_that_is_configured() {
    on_control_thread(async {
        let pace = crate::control::Pace { heartbeat: std::time::Duration::from_millis(10), ..quick() };
        let mut config = usual();
        config.workers.rebalance = Rebalance::Auto;
        let world = World::with(config, pace, std::collections::HashMap::new(), false);
        world.until("it serves", || !world.hooks().is_empty()).await;
        (1..=100).for_each(|id| world.workers[1].accept("web", id));
        world.until("they are even", || open(&world) == [50, 50]).await;
        let world = World::with(usual(), pace, std::collections::HashMap::new(), false);
        world.until("it serves", || !world.hooks().is_empty()).await;
        (1..=100).for_each(|id| world.workers[1].accept("web", id));
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert_eq!(open(&world), [0, 100]);
    });
}

#[test]
fn a_refused_reload_leaves_as_many_workers_as_before() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.binder.take("127.0.0.1:99");
        let mut config = usual();
        config.workers.count = Some(5);
        config.listeners.push(crate::control::testing::echo("taken", "127.0.0.1:99"));
        world.set_source(Ok(config));
        let request = ReloadRequest {
            candidate: Candidate::Source,
            expected_generation: None,
            terms: Terms::default(),
            by: by("ann"),
        };
        let refused = world.ask(|reply| Request::Reload(request, reply)).await.unwrap_err();
        assert!(refused.to_string().contains("taken"), "{refused}");
        let finished = || world.spawned.lock().unwrap().iter().map(WorkerPort::is_finished).collect::<Vec<_>>();
        world.until("they have gone", || finished() == [false, false, true, true, true]).await;
        // Others can be made afterwards.
        reload(&world, |config| config.workers.count = Some(3)).await;
        let snapshot = world.ask(Request::Snapshot).await.unwrap();
        assert_eq!((snapshot.workers.len(), snapshot.status.generation), (3, 2));
    });
}
