//! Commands that change nothing.

use crate::{
    cli::{
        args::{ConnectionsArgs, FilterArgs},
        exit::Failure,
        output::{ToJson, connections, events, objects, status, units, why},
    },
    pb,
};

use super::Session;

impl Session<'_, '_> {
    pub(super) async fn status(&mut self) -> Result<(), Failure> {
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().get_status(pb::GetStatusRequest {})).await?;
        self.console.answer(&answer, |look| status::page(&answer, look))
    }

    pub(super) async fn listeners(&mut self, name: Option<String>) -> Result<(), Failure> {
        let name = name.map(|name| crate::cli::object::bare(&name, "listener/")).unwrap_or_default();
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().list_listeners(pb::ListListenersRequest { name })).await?;
        self.console.answer(&answer, |look| objects::listeners(&answer.listeners, look))
    }

    pub(super) async fn pools(&mut self, name: Option<String>) -> Result<(), Failure> {
        let name = name.map(|name| crate::cli::object::bare(&name, "pool/")).unwrap_or_default();
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().list_pools(pb::ListPoolsRequest { name })).await?;
        self.console.answer(&answer, |look| objects::pools(&answer.pools, look))
    }

    pub(super) async fn why(&mut self, object: String) -> Result<(), Failure> {
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().why(pb::WhyRequest { object })).await?;
        self.console.answer(&answer, |look| why::page(&answer, look))
    }

    pub(super) async fn connections(&mut self, args: ConnectionsArgs) -> Result<(), Failure> {
        let request = pb::ListConnectionsRequest {
            filter: Some(filter(args.filter)?),
            page_size: args.page_size.unwrap_or_default(),
            page_token: args.page_token,
            limit: args.limit,
        };
        let filtered = request.filter != Some(pb::ConnectionFilter::default());
        let client = self.connect().await?;
        let mut pages = client.answer(client.rpc().list_connections(request)).await?;
        let mut table = connections::Pages::default();
        let mut next_page_token = String::new();
        while let Some(page) = pages.message().await.map_err(|status| client.failure(&status))? {
            next_page_token = page.next_page_token;
            if self.console.json {
                for connection in &page.connections {
                    self.console.json_line(&connection.to_json())?;
                }
            } else if !page.connections.is_empty() {
                let text = table.page(&page.connections, self.console.look());
                self.console.text(&text)?;
            }
            if self.console.reader_gone {
                return Ok(());
            }
        }
        if let Some(hidden) = table.hidden() {
            self.console.hint(&hidden);
        }
        self.end_of_connections(table.is_empty(), filtered, next_page_token)
    }

    fn end_of_connections(&mut self, none: bool, filtered: bool, next_page_token: String) -> Result<(), Failure> {
        if self.console.json {
            return match next_page_token.as_str() {
                "" => Ok(()),
                token => self.console.json_line(&serde_json::json!({ "next_page_token": token })),
            };
        }
        if none {
            self.console.line(if filtered { "No connection matches." } else { "No connection is open." })?;
        }
        if !next_page_token.is_empty() {
            self.console.hint(&format!("There are more: the same command with --page-token {next_page_token}"));
        }
        Ok(())
    }

    pub(super) async fn log_level(&mut self) -> Result<(), Failure> {
        let client = self.connect().await?;
        let answer = client.answer(client.rpc().get_status(pb::GetStatusRequest {})).await?;
        if self.console.json {
            return self.console.json(&serde_json::json!({ "log_level": answer.log_level }));
        }
        self.console.line(&answer.log_level)
    }

    pub(super) async fn events(&mut self, kinds: Vec<String>) -> Result<(), Failure> {
        let client = self.connect().await?;
        let mut events = client.answer(client.rpc().watch_events(pb::WatchEventsRequest { kinds })).await?;
        while let Some(event) = events.message().await.map_err(|status| client.failure(&status))? {
            if self.console.json {
                self.console.json_line(&event.to_json())?;
            } else {
                self.console.line(&events::line(&event))?;
            }
            if self.console.reader_gone {
                return Ok(());
            }
        }
        self.console.hint("netd has ended the stream of events");
        Ok(())
    }
}

/// The filter of a request.
pub(super) fn filter(args: FilterArgs) -> Result<pb::ConnectionFilter, Failure> {
    let FilterArgs { listener, pool, endpoint, source, min_age, min_idle } = args;
    Ok(pb::ConnectionFilter {
        listener: listener.unwrap_or_default(),
        pool: pool.unwrap_or_default(),
        endpoint: endpoint.unwrap_or_default(),
        source: source.unwrap_or_default(),
        min_age: units::wire_duration(min_age)?,
        min_idle: units::wire_duration(min_idle)?,
    })
}
