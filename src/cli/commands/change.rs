//! Commands that change something at once.

use std::time::Duration;

use crate::{
    cli::{
        args::{CloseArgs, SetArgs, ShutdownArgs, TargetArgs},
        exit::Failure,
        object,
        output::{objects, units},
    },
    config::LogLevel,
    pb::{self, set_endpoint_request::Setting},
};

use super::{Session, look::filter};

impl Session<'_, '_> {
    pub(super) async fn close(&mut self, args: CloseArgs) -> Result<(), Failure> {
        let filter = filter(args.filter)?;
        let by_filter = args.ids.is_empty();
        let request = pb::CloseConnectionRequest {
            ids: args.ids,
            filter: by_filter.then_some(filter),
            all: args.all,
            by: self.by(),
        };
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().close_connection(request)).await?;
        self.console.answer(&answer, |_| {
            let closed = units::counted(answer.closed, "connection", "connections");
            match answer.unknown_ids.as_slice() {
                [] => format!("Closed {closed}.\n"),
                unknown => format!("Closed {closed}. No live connection has the id {}.\n", unknown.join(", ")),
            }
        })
    }

    pub(super) async fn undrain(&mut self, target: &TargetArgs) -> Result<(), Failure> {
        let target = object::target(&target.words)?;
        let name = object::name(&target);
        let request = pb::UndrainRequest { target: Some(target), by: self.by() };
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().undrain(request)).await?;
        self.console.answer(&answer, |_| format!("{name} takes new connections again.\n"))
    }

    pub(super) async fn start(&mut self, words: &[String]) -> Result<(), Failure> {
        let name = match object::stopped(words)? {
            object::Stopped::Listener(name) => name,
            object::Stopped::Worker(target) => return self.start_worker(target).await,
        };
        let request = pb::StartListenerRequest { name: name.clone(), by: self.by() };
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().start_listener(request)).await?;
        self.console.answer(&answer, |_| match answer.state.as_str() {
            // An older netd does not say.
            "accepting" | "" => format!("listener/{name} accepts.\n"),
            _ => format!("The stop of listener/{name} is lifted, but {}.\n", answer.explanation),
        })
    }

    async fn start_worker(&mut self, target: pb::Target) -> Result<(), Failure> {
        let name = object::name(&target);
        let request = pb::UndrainRequest { target: Some(target), by: self.by() };
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().undrain(request)).await?;
        self.console.answer(&answer, |_| format!("{name} takes new connections again.\n"))
    }

    pub(super) async fn stop(&mut self, listener: &str, expires_in: Option<Duration>) -> Result<(), Failure> {
        let name = object::bare(listener, "listener/");
        let request = pb::StopListenerRequest {
            name: name.clone(),
            expires_in: units::wire_duration(expires_in)?,
            by: self.by(),
        };
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().stop_listener(request)).await?;
        self.console.answer(&answer, |_| {
            let end = match expires_in {
                Some(duration) => format!("in {} by itself, or with", units::duration(duration)),
                None => "with".to_owned(),
            };
            format!(
                "listener/{name} has stopped accepting; its open connections go on.\nIt accepts again {end} `netctl \
                 start {name}`.\n"
            )
        })
    }

    pub(super) async fn set(&mut self, args: SetArgs) -> Result<(), Failure> {
        let setting = match args.weight {
            Some(weight) => Setting::Weight(weight),
            None if args.drain => Setting::Drain(true),
            None if args.maintenance => Setting::Maintenance(true),
            None => Setting::Clear(true),
        };
        let pool = object::bare(&args.pool, "pool/");
        let request = pb::SetEndpointRequest {
            endpoint: Some(object::endpoint(&pool, &args.endpoint)),
            expires_in: units::wire_duration(args.expires_in)?,
            by: self.by(),
            setting: Some(setting),
        };
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().set_endpoint(request)).await?;
        self.console.answer(&answer, |look| match &answer.endpoint {
            Some(endpoint) => objects::endpoint(&pool, endpoint, look.now),
            None => format!("endpoint/{pool}/{} is set.\n", args.endpoint),
        })
    }

    pub(super) async fn set_log_level(&mut self, level: LogLevel) -> Result<(), Failure> {
        let request = pb::SetLogLevelRequest { level: level.as_str().to_owned(), by: self.by() };
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().set_log_level(request)).await?;
        self.console.answer(&answer, |_| match answer.previous.as_str() {
            previous if previous == level.as_str() => format!("The log level is {previous} already.\n"),
            previous => {
                format!("The log level is {}; it was {previous}. A new start goes by the file.\n", level.as_str())
            }
        })
    }

    pub(super) async fn shutdown(&mut self, args: ShutdownArgs) -> Result<(), Failure> {
        let ShutdownArgs { now, deadline, course } = args;
        let request = pb::ShutdownRequest {
            now,
            deadline: units::wire_duration(deadline)?,
            by: self.by(),
            gradual: units::wire_duration(course.gradual)?,
            lame_duck: units::wire_duration(course.lame_duck)?,
        };
        let client = self.connect().await?;
        let answer = match client.answer(client.rpc().shutdown(request)).await {
            // It was quicker to go than to say so.
            Err(Failure::Lost(_)) if now => pb::ShutdownResponse::default(),
            answer => answer?,
        };
        self.console.answer(&answer, |_| {
            if now {
                return "netd stops at once.\n".to_owned();
            }
            let configured = if deadline.is_some() { "" } else { " (drain.timeout)" };
            let after = match units::span(answer.deadline.as_ref()).or(deadline) {
                Some(deadline) => format!("{}{configured}", units::duration(deadline)),
                // An older netd does not say.
                None => "the configured drain.timeout".to_owned(),
            };
            let time = |span: &Option<prost_types::Duration>| units::span(span.as_ref()).map(units::duration);
            let lame = time(&answer.lame_duck)
                .map(|time| format!("is not ready any more, goes on accepting for {time}, then "))
                .unwrap_or_default();
            let gradual = time(&answer.gradual)
                .map(|window| format!("ends idle connections evenly over {window}, "))
                .unwrap_or_default();
            format!(
                "netd {lame}drains, {gradual}cuts what is left after {after}, and stops. `netctl status` shows how \
                 far it is.\n"
            )
        })
    }
}
