//! Live connections: pages of them, and their end by an operator.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use super::{
    clock::Now,
    controller::Controller,
    gather::{Gather, workers_named},
    names,
    port::WorkerPort,
    request::{
        CloseOutcome, CloseRequest, ConnectionFilter, ConnectionPage, ConnectionQuery, ConnectionState, ConnectionView,
        EventKind, Refusal, Reply,
    },
    told::Told,
};
use crate::{
    config::format_duration,
    protocol::CloseReason,
    worker::{self, ConnectionInfo, EndpointId, Filter, ListenerId, Query, Selection},
};

/// Connections of one page.
const PAGE: usize = 1000;
/// Ids in one close request.
const IDS: usize = 1000;
/// Ids of one close request that are told in its event.
const LISTED: usize = 8;

impl<P: WorkerPort> Controller<P> {
    /// Asks the workers for one page; answers when they have.
    pub(super) fn connections(&mut self, query: ConnectionQuery, reply: Reply<ConnectionPage>) {
        let prepared = filter(&query.filter, self.fleet.told(), self.clock.now()).and_then(|filter| {
            if query.page_size == 0 || query.page_size > PAGE {
                return Err(Refusal::Invalid(format!("page size {} is out of range: 1 to {PAGE}", query.page_size)));
            }
            self.check_room()?;
            Ok(filter)
        });
        let filter = match prepared {
            Ok(Some(filter)) => filter,
            Ok(None) => return answer(reply, Ok(ConnectionPage::default())),
            Err(refusal) => return answer(reply, Err(refusal)),
        };
        let gather = self.fleet.query(&Query { filter, after: query.after, limit: query.page_size });
        self.after(gather, move |controller, gather| {
            let page = complete(gather, controller.pace.confirm).map(|answers| {
                page(answers, query.page_size, &Directory::new(controller.fleet.told()), controller.clock.now())
            });
            answer(reply, page);
        });
    }

    /// Has the workers end connections; answers when they have.
    pub(super) fn close(&mut self, request: CloseRequest, reply: Reply<CloseOutcome>) {
        let selections = match self.selections(&request) {
            Ok(selections) => selections,
            Err(refusal) => return answer(reply, Err(refusal)),
        };
        let which = described(&request);
        let gather = self.fleet.close(&selections, CloseReason::KILL);
        self.after(gather, move |controller, gather| {
            let outcome = complete(gather, controller.pace.confirm).map(|answers| {
                let ended: BTreeSet<u64> = answers.into_iter().flat_map(|(_, ids)| ids).collect();
                let unknown = request.ids.into_iter().filter(|id| !ended.contains(id)).collect();
                CloseOutcome { closed: ended.len() as u64, unknown }
            });
            if let Ok(outcome) = &outcome {
                let s = if outcome.closed == 1 { "" } else { "s" };
                let text = format!("{} connection{s} closed, asked for {which}", outcome.closed);
                controller.journal.asked(EventKind::ConnectionsClosed, "", &text, &request.by);
            }
            answer(reply, outcome);
        });
    }

    fn selections(&self, request: &CloseRequest) -> Result<Vec<Selection>, Refusal> {
        if request.ids.is_empty() && request.filter.is_none() {
            return Err(Refusal::Invalid("say which connections: ids or a filter".to_owned()));
        }
        if request.ids.len() > IDS {
            return Err(Refusal::Invalid(format!("{} ids are too many: at most {IDS}", request.ids.len())));
        }
        self.check_room()?;
        let mut selections = Vec::new();
        if !request.ids.is_empty() {
            selections.push(Selection::Ids(request.ids.clone()));
        }
        if let Some(wanted) = &request.filter {
            let filter = filter(wanted, self.fleet.told(), self.clock.now())?;
            selections.extend(filter.map(Selection::Matching));
        }
        Ok(selections)
    }
}

/// Which connections a request is about, in a line of bounded length.
fn described(request: &CloseRequest) -> String {
    let mut parts = Vec::new();
    if !request.ids.is_empty() {
        let ids: Vec<String> = request.ids.iter().take(LISTED).map(|id| format!("{id:x}")).collect();
        let more = match request.ids.len().saturating_sub(LISTED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        parts.push(format!("id {}{more}", ids.join(", ")));
    }
    match &request.filter {
        Some(all) if *all == ConnectionFilter::default() => parts.push("all".to_owned()),
        Some(filter) => {
            let ConnectionFilter { listener, pool, endpoint, source, min_age, min_idle } = filter;
            let time = |time: &Option<Duration>| time.map(format_duration);
            let fields = [
                ("listener", listener.clone()),
                ("pool", pool.clone()),
                ("endpoint", endpoint.clone()),
                ("source", source.map(|(network, prefix)| format!("{network}/{prefix}"))),
                ("min-age", time(min_age)),
                ("min-idle", time(min_idle)),
            ];
            parts.extend(fields.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?))));
        }
        None => {}
    }
    parts.join(", ")
}

/// Gives an answer; nobody waiting for it is no fault.
pub(super) fn answer<T>(reply: Reply<T>, answer: Result<T, Refusal>) {
    let _ = reply.send(answer);
}

/// All answers, or which workers did not give theirs.
fn complete<T: Send + 'static>(gather: Gather<T>, limit: Duration) -> Result<Vec<(usize, T)>, Refusal> {
    let silent = gather.silent();
    if silent.is_empty() {
        return Ok(gather.answers);
    }
    Err(Refusal::Timeout(format!("{} did not answer within {limit:?}", workers_named(&silent))))
}

/// The filter in ids; `None`: nothing can match.
fn filter(wanted: &ConnectionFilter, told: &Told, now: Now) -> Result<Option<Filter>, Refusal> {
    let mut filter = Filter { source: wanted.source, ..Filter::default() };
    if let Some(name) = &wanted.listener {
        let listener = told
            .any_listener(name)
            .ok_or_else(|| names::missing("listener", name, told.listeners().map(|each| each.config.name.as_str())))?;
        filter.listeners = Some(listener.ids().collect());
    }
    if wanted.pool.is_some() || wanted.endpoint.is_some() {
        filter.endpoints = Some(endpoints(wanted, told)?);
    }
    for (age, bound) in [(wanted.min_age, &mut filter.accepted_before), (wanted.min_idle, &mut filter.idle_since)] {
        if let Some(age) = age {
            *bound = now.instant.checked_sub(age);
            if bound.is_none() {
                return Ok(None);
            }
        }
    }
    Ok(Some(filter))
}

fn endpoints(wanted: &ConnectionFilter, told: &Told) -> Result<Vec<EndpointId>, Refusal> {
    let pool = wanted.pool.as_deref();
    if let Some(name) = pool.filter(|name| !told.pools.contains_key(*name))
        && told.endpoints(pool).next().is_none()
    {
        return Err(names::missing("pool", name, told.pools.keys().map(String::as_str)));
    }
    let Some(address) = &wanted.endpoint else { return Ok(told.endpoints(pool).map(|each| each.id).collect()) };
    let ids: Vec<EndpointId> =
        told.endpoints(pool).filter(|each| each.address.to_string() == *address).map(|each| each.id).collect();
    if ids.is_empty() {
        let known: Vec<String> = told.endpoints(pool).map(|each| each.address.to_string()).collect();
        return Err(names::missing("endpoint", address, known.iter().map(String::as_str)));
    }
    Ok(ids)
}

/// Names by id.
struct Directory<'a> {
    listeners: HashMap<ListenerId, &'a str>,
    endpoints: HashMap<EndpointId, (&'a str, String)>,
}

impl<'a> Directory<'a> {
    fn new(told: &'a Told) -> Self {
        let named = |each: &'a super::told::ToldListener| each.ids().map(|id| (id, each.config.name.as_str()));
        let endpoints = told.endpoints(None).map(|each| (each.id, (each.pool.as_str(), each.address.to_string())));
        Self { listeners: told.listeners().flat_map(named).collect(), endpoints: endpoints.collect() }
    }
}

/// The lowest ids of all workers' answers.
fn page(
    answers: Vec<(usize, Vec<ConnectionInfo>)>,
    size: usize,
    directory: &Directory<'_>,
    now: Now,
) -> ConnectionPage {
    let full = answers.iter().any(|(_, list)| list.len() >= size);
    let mut all: Vec<(usize, ConnectionInfo)> =
        answers.into_iter().flat_map(|(worker, list)| list.into_iter().map(move |each| (worker, each))).collect();
    all.sort_by_key(|(_, each)| each.id);
    let more = full || all.len() > size;
    all.truncate(size);
    let connections = all.into_iter().map(|(worker, each)| view(worker, each, directory, now)).collect();
    ConnectionPage { connections, more }
}

fn view(worker: usize, info: ConnectionInfo, directory: &Directory<'_>, now: Now) -> ConnectionView {
    let upstream = info.endpoint.and_then(|id| directory.endpoints.get(&id));
    ConnectionView {
        id: info.id,
        worker,
        listener: directory.listeners.get(&info.listener).copied().unwrap_or_default().to_owned(),
        source: info.source.map_or_else(|| "unix:".to_owned(), |source| source.to_string()),
        upstream: upstream.map(|(pool, address)| ((*pool).to_owned(), address.clone())),
        proxy: info.via.map(|via| via.peer.map_or_else(|| "unix:".to_owned(), |peer| peer.to_string())),
        state: match info.state {
            worker::ConnectionState::Identifying => ConnectionState::Identifying,
            worker::ConnectionState::Dialing => ConnectionState::Dialing,
            worker::ConnectionState::Open => ConnectionState::Open,
            worker::ConnectionState::HalfClosed => ConnectionState::HalfClosed,
            worker::ConnectionState::Closing => ConnectionState::Closing,
        },
        since: now.wall_of(info.since),
        idle: now.instant.saturating_duration_since(info.progressed_at),
        bytes_from_downstream: info.bytes_from_downstream,
        bytes_to_downstream: info.bytes_to_downstream,
    }
}

#[cfg(test)]
mod tests;
