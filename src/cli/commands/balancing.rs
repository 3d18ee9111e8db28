//! Commands about the sharing out of connections.

use crate::{
    cli::{
        args::SetSplitArgs,
        exit::Failure,
        object,
        output::{choice, units},
    },
    pb::{self, set_split_request::Share},
};

use super::Session;

impl Session<'_, '_> {
    pub(super) async fn set_split(&mut self, args: SetSplitArgs) -> Result<(), Failure> {
        let listener = object::bare(&args.listener, "listener/");
        let share = |(pool, weight): (String, u32)| Share { pool: object::bare(&pool, "pool/"), weight };
        let request = pb::SetSplitRequest {
            listener: listener.clone(),
            shares: args.shares.into_iter().map(share).collect(),
            clear: args.clear,
            expires_in: units::wire_duration(args.expires_in)?,
            by: self.by(),
        };
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().set_split(request)).await?;
        self.console.answer(&answer, |look| match &answer.listener {
            Some(listener) => choice::split(listener, look.now),
            None => format!("listener/{listener} is set.\n"),
        })
    }

    pub(super) async fn explain(&mut self, from: Option<String>, listener: &str) -> Result<(), Failure> {
        let listener = object::bare(listener, "listener/");
        let request = pb::ExplainRequest { listener, source: from.unwrap_or_default() };
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().explain(request)).await?;
        self.console.answer(&answer, |look| choice::page(&answer, look))
    }
}
