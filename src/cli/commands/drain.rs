//! The command of the day.

mod follow;

use std::{future::Future, time::Duration};

use tokio::{signal, time::Instant};

use crate::{
    cli::{
        args::DrainArgs,
        client::Client,
        exit::Failure,
        object,
        output::{Console, ToJson, progress, units},
    },
    pb::{self, target::Of},
};

use self::follow::{Way, follow};
use super::Session;

impl Session<'_, '_> {
    pub(super) async fn drain(&mut self, args: DrainArgs) -> Result<(), Failure> {
        self.drain_until(args, async {
            // Without a handler Ctrl-C does what it always does.
            if signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await
    }

    /// Drains; gives up watching, not draining, when `interrupt` is done.
    pub(crate) async fn drain_until(
        &mut self,
        args: DrainArgs,
        interrupt: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let target = object::target(&args.target.words)?;
        let request = pb::DrainRequest {
            target: Some(target.clone()),
            deadline: units::wire_duration(args.deadline)?,
            wait_forever: args.no_deadline,
            by: self.by(),
            gradual: units::wire_duration(args.course.gradual)?,
            lame_duck: units::wire_duration(args.course.lame_duck)?,
            r#move: args.moves,
        };
        let client = self.connect().await?;
        let name = object::name(&target);
        let way = Way { globals: &self.globals, around: self.around };
        let mut view = View::new(&name, self.console);
        let interrupted = tokio::select! {
            biased;
            outcome = follow(client, request, &mut view, &way) => Some(outcome),
            () = interrupt => None,
        };
        view.end_of_line()?;
        match interrupted {
            Some(outcome) => {
                let (client, outcome) = outcome?;
                view.report(&outcome)?;
                if self.console.json {
                    return Ok(());
                }
                let way_back = way_back(&client, &target).await;
                let stop = if name == "netd" { "; `netctl shutdown` stops netd" } else { "" };
                self.console.hint(&format!("{way_back}{stop}"));
                Ok(())
            }
            None => Err(Failure::Interrupted(format!(
                "interrupted; the drain of {name} goes on in the daemon. `{}` takes it back",
                object::undrain_command(&target)
            ))),
        }
    }
}

/// How progress is shown: one line rewritten on a terminal, a line a change
/// elsewhere, every message as JSON.
struct View<'a, 'c> {
    name: &'a str,
    console: &'a mut Console<'c>,
    last: Option<(pb::DrainProgress, Instant)>,
}

impl<'a, 'c> View<'a, 'c> {
    fn new(name: &'a str, console: &'a mut Console<'c>) -> Self {
        Self { name, console, last: None }
    }

    fn live(&self) -> bool {
        !self.console.json && self.console.width.is_some()
    }

    fn show(&mut self, progress: &pb::DrainProgress) -> Result<(), Failure> {
        let before = self.last.replace((progress.clone(), Instant::now()));
        if self.console.json {
            return self.console.json_line(&progress.to_json());
        }
        if self.live() {
            return self.console.rewrite(&progress::line(self.name, progress, Duration::ZERO));
        }
        let seen = before.is_some_and(|(before, _)| progress::figures(&before) == progress::figures(progress));
        if seen || progress.done {
            return Ok(());
        }
        self.console.line(&progress::line(self.name, progress, Duration::ZERO))
    }

    /// The clock moves on also while no connection ends.
    fn tick(&mut self) -> Result<(), Failure> {
        match &self.last {
            Some((progress, at)) if self.live() => {
                self.console.rewrite(&progress::line(self.name, progress, at.elapsed()))
            }
            _ => Ok(()),
        }
    }

    /// Why the stream did not come to its end.
    fn lost(&self, what: &str) -> Failure {
        let name = self.name;
        Failure::Lost(format!("{what} before the drain of {name} was done; look with `netctl status`"))
    }

    /// Another process goes on with it.
    fn goes_on(&mut self) -> Result<(), Failure> {
        self.end_of_line()?;
        self.console.hint("netd was upgraded or started anew meanwhile; the drain is watched on");
        Ok(())
    }

    /// Leaves the line that was rewritten.
    fn end_of_line(&mut self) -> Result<(), Failure> {
        if self.live() && self.last.is_some() { self.console.rewrite("") } else { Ok(()) }
    }

    fn report(&mut self, progress: &pb::DrainProgress) -> Result<(), Failure> {
        if !progress::is_drained(progress) {
            return Err(Failure::ConnectionsLeft(progress::left(self.name, progress)));
        }
        if self.console.json {
            return Ok(());
        }
        self.console.line(&progress::drained(self.name, progress))
    }
}

/// What gives the target new connections again. A stop or a maintenance that
/// was there before the drain is still there, and then that is to be lifted.
async fn way_back(client: &Client, target: &pb::Target) -> String {
    let stands = match &target.of {
        Some(Of::Listener(name)) => {
            let request = pb::ListListenersRequest { name: name.clone() };
            let answer = client.answer(client.rpc().list_listeners(request)).await;
            let above = answer.ok().and_then(|answer| answer.listeners.into_iter().next()?.r#override);
            above.filter(|above| above.value == "stopped").map(|_| ("stopped", format!("netctl start {name}")))
        }
        Some(Of::Endpoint(name)) => {
            let request = pb::ListPoolsRequest { name: name.pool.clone() };
            let answer = client.answer(client.rpc().list_pools(request)).await;
            let pool = answer.ok().and_then(|answer| answer.pools.into_iter().next());
            let endpoint =
                pool.and_then(|pool| pool.endpoints.into_iter().find(|endpoint| endpoint.address == name.address));
            let above = endpoint.and_then(|endpoint| endpoint.r#override);
            above
                .filter(|above| above.value == "maintenance")
                .map(|_| ("under maintenance", format!("netctl set {} {} --clear", name.pool, name.address)))
        }
        _ => None,
    };
    match stands {
        Some((state, command)) => {
            format!("{} was {state} before and stays so; `{command}` lifts that", object::name(target))
        }
        None => format!("`{}` takes new connections again", object::undrain_command(target)),
    }
}
