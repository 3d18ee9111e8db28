//! Following a drain to its end, over upgrades of the daemon.

use std::time::Duration;

use tokio::time::interval;
use tonic::Streaming;

use super::View;
use crate::{
    cli::{args::Globals, client::Client, commands::connect, exit::Failure, surroundings::Surroundings},
    pb,
};

/// The outcome of a stream whose drain goes on in a successor.
const HANDED_OVER: &str = "handed-over";

/// Where the daemon is to be found again.
pub(super) struct Way<'a> {
    pub(super) globals: &'a Globals,
    pub(super) around: &'a Surroundings,
}

/// Begins a drain and shows its progress until its last message; answers that,
/// and the connection to who sent it. If the stream breaks, or ends because an
/// upgrade took the daemon's place, the drain is watched on in the process that
/// is there now.
pub(super) async fn follow(
    mut client: Client,
    request: pb::DrainRequest,
    view: &mut View<'_, '_>,
    way: &Way<'_>,
) -> Result<(Client, pb::DrainProgress), Failure> {
    let target = request.target.clone();
    let mut stream = client.answer(client.rpc().drain(request)).await?;
    loop {
        let broken = match to_the_end(&client, &mut stream, view).await {
            Ok(last) if last.outcome == HANDED_OVER => view.lost("an upgrade has ended this process's part of it"),
            Ok(last) => return Ok((client, last)),
            Err(failure @ Failure::Lost(_)) => failure,
            Err(failure) => return Err(failure),
        };
        let Ok(next) = connect(way.globals, way.around).await else { return Err(broken) };
        let request = pb::WatchDrainRequest { target: target.clone() };
        stream = match next.answer(next.rpc().watch_drain(request)).await {
            Ok(stream) => stream,
            Err(refusal) => {
                let (broken, refusal) = (broken.message(), refusal.message());
                return Err(Failure::Lost(format!("{broken}. It cannot be watched on: {refusal}")));
            }
        };
        client = next;
        view.goes_on()?;
    }
}

/// Shows a stream until its last message.
async fn to_the_end(
    client: &Client,
    stream: &mut Streaming<pb::DrainProgress>,
    view: &mut View<'_, '_>,
) -> Result<pb::DrainProgress, Failure> {
    let mut ticks = interval(Duration::from_secs(1));
    loop {
        let message = tokio::select! {
            biased;
            message = stream.message() => message.map_err(|status| client.failure(&status))?,
            _ = ticks.tick() => {
                view.tick()?;
                continue;
            }
        };
        let Some(progress) = message else { return Err(view.lost("netd ended the stream")) };
        if progress.outcome == HANDED_OVER {
            return Ok(progress);
        }
        view.show(&progress)?;
        if progress.done {
            return Ok(progress);
        }
    }
}
