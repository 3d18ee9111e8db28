use super::*;
use crate::control::{
    request::{Course, Deadline, DrainRequest, Request, Target},
    testing::{World, by, on_control_thread, usual},
};

#[test]
fn a_stop_expires_and_the_listener_accepts_again() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.told();
        let mut events = world.handle.events();
        let expires_in = Some(Duration::from_millis(10));
        let stop = StopRequest { name: "web".to_owned(), expires_in, by: by("ann") };
        world.ask(|reply| Request::StopListener(stop, reply)).await.unwrap();
        assert_eq!(events.recv().await.unwrap().kind, EventKind::ListenerStopped);
        let event = events.recv().await.unwrap();
        assert_eq!((event.kind, event.object.as_str()), (EventKind::OverrideExpired, "listener/web"));
        assert_eq!(world.told(), ["stop web", "add web"]);
    });
}

#[test]
fn one_listener_that_cannot_come_back_does_not_keep_the_others_away() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        let request = DrainRequest { target: Target::Daemon, course: Course::until(Deadline::Never), by: by("ann") };
        let mut progress = world.ask(|reply| Request::Drain(request, reply)).await.unwrap();
        while progress.recv().await.is_some() {}
        world.told();
        world.binder.take("127.0.0.1:7");
        let refused = world.ask(|reply| Request::Undrain(Target::Daemon, by("bob"), reply)).await.unwrap_err();
        assert!(refused.to_string().starts_with("listener `echo`: cannot listen on 127.0.0.1:7"), "{refused}");
        assert!(refused.to_string().contains("all others accept again"), "{refused}");
        let told = world.told();
        assert!(told.contains(&"add web".to_owned()) && !told.contains(&"add echo".to_owned()), "{told:?}");
        let listeners = world.ask(Request::Listeners).await.unwrap();
        let echo = listeners.iter().find(|each| each.config.name == "echo").unwrap();
        let stop = echo.override_.as_ref().unwrap();
        assert_eq!((stop.by.who.as_str(), stop.expires_at.is_some()), ("netd", true), "tried again by itself");
        assert!(stop.by.why.contains("127.0.0.1:7"), "{stop:?}");

        world.binder.free("127.0.0.1:7");
        world.ask(|reply| Request::StartListener("echo".to_owned(), by("bob"), reply)).await.unwrap();
        assert!(world.told().contains(&"add echo".to_owned()));
    });
}

#[test]
fn an_override_that_cannot_end_does_not_hold_up_others() {
    on_control_thread(async {
        let world = World::serving(usual()).await;
        world.binder.take("127.0.0.1:7");
        let mut events = world.handle.events();
        for name in ["echo", "web"] {
            let expires_in = Some(Duration::from_millis(10));
            let stop = StopRequest { name: name.to_owned(), expires_in, by: by("ann") };
            world.ask(|reply| Request::StopListener(stop, reply)).await.unwrap();
        }
        loop {
            let event = events.recv().await.unwrap();
            if event.kind == EventKind::OverrideExpired {
                assert_eq!(event.object, "listener/web");
                break;
            }
        }
        assert!(world.told().contains(&"add web".to_owned()));
    });
}
