//! Checks on demand, with a prober that answers at once.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    config::{Config, PoolHealth},
    control::{
        prober::Outcome,
        request::{Request, Standing},
        testing::{World, empty, on_control_thread, pool, relay},
    },
};

const A: &str = "10.0.0.1:5432";
const B: &str = "10.0.0.2:5432";

fn config(check: Option<HealthCheck>) -> Config {
    let health = PoolHealth { check: check.map(Arc::new), ..PoolHealth::default() };
    let db = Arc::new(Pool { health, ..(*pool("db", &[(A, 1), (B, 1)])).clone() });
    Config { listeners: vec![relay("web", "127.0.0.1:8080", "db")], pools: vec![db], ..empty() }
}

fn redis() -> HealthCheck {
    let interval = Duration::from_secs(3600);
    HealthCheck { kind: CheckKind::Redis, interval, fall: 3, ..connect_only(Duration::from_secs(1)) }
}

async fn asked(world: &World, endpoint: Option<&str>) -> Result<Vec<Checked>, Refusal> {
    let request = CheckRequest { pool: "db".to_owned(), endpoint: endpoint.map(str::to_owned) };
    let mut results = world.ask(|reply| Request::Check(request, reply)).await?;
    let mut all = Vec::new();
    while let Some(each) = results.recv().await {
        all.push(each);
    }
    all.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
    Ok(all)
}

#[test]
fn each_endpoint_is_asked_once_and_stays_what_it_was() {
    on_control_thread(async {
        let world = World::serving(config(Some(redis()))).await;
        let standings = async || {
            let pools = world.ask(Request::Pools).await.unwrap();
            let each = pools[0].endpoints.iter().map(|each| each.health.as_ref().unwrap().standing);
            each.collect::<Vec<_>>()
        };
        for _ in 0..400 {
            if standings().await == [Standing::Healthy; 2] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let before = [A, B].map(|each| world.prober.asked(each));
        world.prober.answer(A, Some("it answered LOADING"));
        for _ in 0..5 {
            let all = asked(&world, None).await.unwrap();
            let told: Vec<_> = all.iter().map(|each| (each.endpoint.as_str(), each.check, each.configured)).collect();
            assert_eq!(told, [(A, "redis", true), (B, "redis", true)]);
            assert_eq!(all[0].answer.outcome, Outcome::Bad("it answered LOADING".to_owned()));
            assert_eq!(all[1].answer.outcome, Outcome::Good);
        }
        let since = [A, B].map(|each| world.prober.asked(each));
        // The schedule may have asked each once besides.
        assert!(since.iter().zip(before).all(|(since, before)| (5..=6).contains(&(since - before))), "{since:?}");
        assert_eq!(standings().await, [Standing::Healthy; 2], "five failures more than `fall`, and no verdict");
    });
}

#[test]
fn a_pool_without_checks_is_connected_to() {
    on_control_thread(async {
        let world = World::serving(config(None)).await;
        let all = asked(&world, Some(B)).await.unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].endpoint.as_str(), all[0].check, all[0].configured), (B, "tcp", false));
        assert_eq!((world.prober.asked(A), world.prober.asked(B)), (0, 1));
        let missing = asked(&world, Some("10.0.0.3:1")).await.unwrap_err();
        assert!(missing.to_string().starts_with("there is no endpoint `10.0.0.3:1` in pool `db`"), "{missing}");
    });
}

#[test]
fn no_more_requests_than_there_are_places_for() {
    on_control_thread(async {
        let many: Vec<String> = (0..AHEAD + 100).map(|n| format!("10.0.1.{}:{}", n % 250, 1 + n)).collect();
        let endpoints: Vec<(&str, u16)> = many.iter().map(|each| (each.as_str(), 1)).collect();
        let pools = vec![pool("db", &endpoints)];
        let listeners = vec![relay("web", "127.0.0.1:8080", "db")];
        let world = World::serving(Config { listeners, pools, ..empty() }).await;
        let request = CheckRequest { pool: "db".to_owned(), endpoint: None };
        let mut unread = Vec::new();
        for _ in 0..REQUESTS {
            unread.push(world.ask(|reply| Request::Check(request.clone(), reply)).await.unwrap());
        }
        let busy = world.ask(|reply| Request::Check(request.clone(), reply)).await.unwrap_err();
        assert!(matches!(busy, Refusal::Busy(_)), "{busy}");
        // Whoever goes makes room.
        unread.pop();
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if let Ok(mut results) = world.ask(|reply| Request::Check(request.clone(), reply)).await {
                let mut count = 0;
                while results.recv().await.is_some() {
                    count += 1;
                }
                assert_eq!(count, many.len());
                return;
            }
        }
        panic!("a place comes free");
    });
}
