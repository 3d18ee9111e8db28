use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    config::{Config, HashKey, Protocol},
    control::{
        balancing::ChoiceView,
        request::{EndpointOverride, Request, SetEndpoint},
        testing::{World, by, on_control_thread, pool, relay, usual},
    },
};

/// `web` relays to `db`, and a little to `new`.
fn canary() -> Config {
    let share = |name: &str, weight| PoolShare { name: name.to_owned(), weight };
    let mut web = (*relay("web", "127.0.0.1:8080", "db")).clone();
    web.protocol = Protocol::Tcp { pools: vec![share("db", 95), share("new", 5)], hash: HashKey::default() };
    let mut config = usual();
    config.pools.push(pool("new", &[("10.0.0.9:1", 1)]));
    config.listeners[0] = Arc::new(web);
    config
}

async fn explain(world: &World, listener: &str) -> Result<ChoiceView, Refusal> {
    let source = Some("10.1.2.3:0".parse().unwrap());
    world.ask(|reply| Request::Explain(ExplainRequest { listener: listener.to_owned(), source }, reply)).await
}

async fn set(world: &World, shares: Option<&[(&str, u16)]>) -> Result<ListenerView, Refusal> {
    let share = |(name, weight): &(&str, u16)| PoolShare { name: (*name).to_owned(), weight: *weight };
    let shares = shares.map(|shares| shares.iter().map(share).collect());
    let request = SetSplit { listener: "web".to_owned(), shares, expires_in: None, by: by("ann") };
    world.ask(|reply| Request::SetSplit(request, reply)).await
}

#[test]
fn a_choice_names_pool_endpoint_and_reason_and_who_is_out() {
    on_control_thread(async {
        let world = World::serving(canary()).await;
        let maintenance = SetEndpoint {
            pool: "db".to_owned(),
            endpoint: "10.0.0.1:5432".to_owned(),
            setting: Some(EndpointOverride::Maintenance),
            expires_in: None,
            by: by("bob"),
        };
        world.ask(|reply| Request::SetEndpoint(maintenance, reply)).await.unwrap();
        world.told();
        let choice = explain(&world, "web").await.unwrap();
        assert_eq!(world.told(), Vec::<String>::new(), "nothing is changed");
        assert_eq!(
            choice.sentence,
            "a connection from 10.1.2.3 to listener `web` would go to 10.0.0.2:5432 of pool `db` (share 95 of 100): it \
             is its turn, with weight 2"
        );
        assert!(choice.workers.len() == 2 && choice.refused_by.is_empty());
        let names: Vec<&str> = choice.pools.iter().map(|pool| pool.name.as_str()).collect();
        assert_eq!((names, choice.pools[0].open), (vec!["db", "new"], 1));
        let out = |at: usize| choice.pools[0].endpoints[at].out.as_deref();
        assert_eq!((out(0), out(1)), (Some("maintenance, set by bob (test)"), None));
    });
}

#[test]
fn a_listener_that_does_not_relay_or_accept_says_why() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let Err(Refusal::Precondition(text)) = explain(&world, "echo").await else { panic!("echo relays") };
        assert_eq!(text, "listener `echo` relays to no pool: its protocol is echo");
        assert!(matches!(explain(&world, "wob").await, Err(Refusal::NotFound(_))));
        let stop = crate::control::StopRequest { name: "web".to_owned(), expires_in: None, by: by("ann") };
        world.ask(|reply| Request::StopListener(stop, reply)).await.unwrap();
        let Err(Refusal::Precondition(text)) = explain(&world, "web").await else { panic!("it accepts") };
        assert!(text.contains("does not accept: it is stopped, set by ann"), "{text}");
    });
}

#[test]
fn shares_are_told_to_the_workers_at_once() {
    on_control_thread(async {
        let world = World::serving(canary()).await;
        world.told();
        let view = set(&world, Some(&[("new", 50)])).await.unwrap();
        assert_eq!(world.told(), ["update web"]);
        assert_eq!((view.shares[1].configured_weight, view.shares[1].weight), (5, 50));
        assert_eq!(view.split.unwrap().by, by("ann"));
        let why = world.ask(|reply| Request::Why("web".to_owned(), reply)).await.unwrap();
        assert!(why.sentence.ends_with("to pools db=95 new=50: shares set by ann (test)"), "{}", why.sentence);
        let shares: Vec<u16> =
            world.workers[1].inner().listeners.values().flat_map(|each| &each.pools).map(|each| each.weight).collect();
        assert_eq!(shares, [95, 50]);
        set(&world, Some(&[("new", 50)])).await.unwrap();
        assert_eq!(world.told(), Vec::<String>::new(), "it is so already");
        let view = set(&world, None).await.unwrap();
        assert_eq!((world.told(), view.split), (vec!["update web".to_owned()], None));
        assert!(matches!(set(&world, Some(&[("old", 1)])).await, Err(Refusal::NotFound(_))));
    });
}

#[test]
fn a_slow_start_is_told_step_by_step() {
    on_control_thread(async {
        let slow = |config: &mut Config| {
            let mut db = (*config.pools[0]).clone();
            db.slow_start = Some(Duration::from_secs(1));
            config.pools[0] = Arc::new(db);
        };
        let mut config = usual();
        slow(&mut config);
        let world = World::serving(config).await;
        let set = |setting| SetEndpoint {
            pool: "db".to_owned(),
            endpoint: "10.0.0.2:5432".to_owned(),
            setting,
            expires_in: None,
            by: by("bob"),
        };
        world.ask(|reply| Request::SetEndpoint(set(Some(EndpointOverride::Maintenance)), reply)).await.unwrap();
        world.told();
        let view = world.ask(|reply| Request::SetEndpoint(set(None), reply)).await.unwrap();
        assert_eq!(view.weight, 2);
        let mut steps = Vec::new();
        for _ in 0..600 {
            steps.extend(world.told());
            if steps.last().is_some_and(|last| last == "set db [1, 2]") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(steps.first().map(String::as_str), Some("set db [100, 10]"), "{steps:?}");
        assert_eq!(steps.last().map(String::as_str), Some("set db [1, 2]"), "{steps:?}");
        assert!(steps.len() >= 3, "{steps:?}");
    });
}

#[test]
fn an_overload_refuses_whoever_asks() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        assert_eq!(explain(&world, "web").await.unwrap().refused_by, [""; 0]);
        world.workers[0].settings().gates.set_refusing(true);
        let choice = explain(&world, "web").await.unwrap();
        assert!(choice.refused_by.len() == 1 && choice.refused_by[0].ends_with("(overload)"), "{choice:?}");
        assert!(choice.sentence.contains("would be refused; let in, it would go to"), "{}", choice.sentence);
    });
}
