use super::*;
use crate::control::{
    request::Request,
    testing::{World, by, on_control_thread, usual},
};

fn query(filter: ConnectionFilter, after: Option<u64>, page_size: usize) -> ConnectionQuery {
    ConnectionQuery { filter, after, page_size }
}

async fn ids(world: &World, query: ConnectionQuery) -> (Vec<u64>, bool) {
    let page = world.ask(|reply| Request::Connections(query, reply)).await.unwrap();
    (page.connections.iter().map(|each| each.id).collect(), page.more)
}

async fn busy_world() -> World {
    let world = World::serving(usual()).await;
    for id in 0..10 {
        let listener = if id < 5 { "web" } else { "echo" };
        world.workers[(id % 2) as usize].accept(listener, id);
    }
    world
}

#[test]
fn pages_go_over_all_workers_in_order() {
    on_control_thread(async {
        let world = busy_world().await;
        let all = ConnectionFilter::default;
        assert_eq!(ids(&world, query(all(), None, 4)).await, (vec![0, 1, 2, 3], true));
        assert_eq!(ids(&world, query(all(), Some(3), 4)).await, (vec![4, 5, 6, 7], true));
        assert_eq!(ids(&world, query(all(), Some(7), 4)).await, (vec![8, 9], false));
        let page = world.ask(|reply| Request::Connections(query(all(), None, 1), reply)).await.unwrap();
        let first = &page.connections[0];
        assert_eq!((first.worker, first.listener.as_str(), first.source.as_str()), (0, "web", "192.0.2.1:1234"));
        assert_eq!(first.upstream, Some(("db".to_owned(), "10.0.0.1:5432".to_owned())));
    });
}

#[test]
fn filters_are_names() {
    on_control_thread(async {
        let world = busy_world().await;
        let by_listener = ConnectionFilter { listener: Some("echo".to_owned()), ..Default::default() };
        assert_eq!(ids(&world, query(by_listener, None, 100)).await, (vec![5, 6, 7, 8, 9], false));
        let by_endpoint = ConnectionFilter { endpoint: Some("10.0.0.1:5432".to_owned()), ..Default::default() };
        assert_eq!(ids(&world, query(by_endpoint, None, 100)).await.0, [0, 1, 2, 3, 4]);
        let old = ConnectionFilter { min_age: Some(Duration::from_secs(3600)), ..Default::default() };
        assert_eq!(ids(&world, query(old, None, 100)).await.0, Vec::<u64>::new());
        let old = ConnectionFilter { min_idle: Some(Duration::MAX), ..Default::default() };
        assert_eq!(ids(&world, query(old, None, 100)).await.0, Vec::<u64>::new());
        for (filter, text) in [
            (ConnectionFilter { listener: Some("wb".to_owned()), ..Default::default() }, "did you mean `web`?"),
            (ConnectionFilter { pool: Some("x".to_owned()), ..Default::default() }, "there is: db"),
            (ConnectionFilter { endpoint: Some("x".to_owned()), ..Default::default() }, "10.0.0.2:5432"),
        ] {
            let refused = world.ask(|reply| Request::Connections(query(filter, None, 1), reply)).await.unwrap_err();
            assert!(matches!(&refused, Refusal::NotFound(message) if message.contains(text)), "{refused}");
        }
        let refused = world.ask(|reply| Request::Connections(query(Default::default(), None, 0), reply)).await;
        assert!(matches!(refused, Err(Refusal::Invalid(_))));
    });
}

#[test]
fn connections_end_by_id_and_by_filter() {
    on_control_thread(async {
        let world = busy_world().await;
        let filter = ConnectionFilter { listener: Some("echo".to_owned()), ..Default::default() };
        let request = CloseRequest { ids: vec![0, 5, 77], filter: Some(filter), by: by("ann") };
        let mut events = world.handle.events();
        let outcome = world.ask(|reply| Request::Close(request, reply)).await.unwrap();
        assert_eq!(outcome, CloseOutcome { closed: 6, unknown: vec![77] });
        let told = events.recv().await.unwrap();
        assert_eq!(told.text, "6 connections closed, asked for id 0, 5, 4d, listener echo");
        assert_eq!(ids(&world, query(Default::default(), None, 100)).await.0, [1, 2, 3, 4]);
        let all = CloseRequest { ids: Vec::new(), filter: Some(ConnectionFilter::default()), by: by("ann") };
        assert_eq!(described(&all), "all");
        let nothing = CloseRequest { ids: Vec::new(), filter: None, by: by("ann") };
        assert!(matches!(world.ask(|reply| Request::Close(nothing, reply)).await, Err(Refusal::Invalid(_))));
    });
}

#[test]
fn what_is_told_of_a_close_is_bounded() {
    let filter = ConnectionFilter {
        source: Some(("10.0.0.0".parse().unwrap(), 8)),
        min_idle: Some(Duration::from_secs(90)),
        ..Default::default()
    };
    let request = CloseRequest { ids: (0..1000).collect(), filter: Some(filter), by: by("ann") };
    let text = described(&request);
    assert_eq!(text, "id 0, 1, 2, 3, 4, 5, 6, 7 and 992 more, source 10.0.0.0/8, min-idle 1m30s");
}

#[test]
fn a_worker_that_does_not_answer_is_named() {
    on_control_thread(async {
        let world = busy_world().await;
        world.workers[1].inner().mute = true;
        let refused = world.ask(|reply| Request::Connections(query(Default::default(), None, 1), reply)).await;
        assert!(matches!(&refused, Err(Refusal::Timeout(text)) if text.starts_with("worker 1 ")), "{refused:?}");
    });
}
