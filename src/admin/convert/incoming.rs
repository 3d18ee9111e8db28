//! Requests: checked, then in control's words. Every refusal says which field
//! is wrong and what would be right.

pub(in crate::admin) mod balancing;
pub(in crate::admin) mod checks;
pub(in crate::admin) mod generations;

use std::{net::IpAddr, time::Duration};

use crate::{
    config::LogLevel,
    control::{self, Candidate, Course, Deadline, EndpointOverride, EventKind, Refusal},
    pb,
};

/// Longest time that can be asked for: expiries and deadlines.
pub(in crate::admin) const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Longest age or idle time of a filter: ten years.
const MAX_AGE: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

const MAX_IDS: usize = 1000;
const MAX_PAGE: u32 = 1000;
const DEFAULT_PAGE: u32 = 200;
const MAX_WHO: usize = 128;
const MAX_WHY: usize = 512;
const MAX_WEIGHT: u16 = 1000;

type Checked<T> = Result<T, Refusal>;

fn invalid<T>(message: impl Into<String>) -> Checked<T> {
    Err(Refusal::Invalid(message.into()))
}

/// Who and why; `peer` where the request does not say who.
pub(in crate::admin) fn provenance(by: Option<pb::Provenance>, peer: &str) -> Checked<control::Provenance> {
    let pb::Provenance { who, why } = by.unwrap_or_default();
    for (field, text, limit) in [("by.who", &who, MAX_WHO), ("by.why", &why, MAX_WHY)] {
        if text.len() > limit {
            return invalid(format!("{field} is {} bytes long; at most {limit} are kept", text.len()));
        }
        if text.chars().any(char::is_control) {
            return invalid(format!("{field} has a control character in it; it must be one line of plain text"));
        }
    }
    let who = if who.is_empty() { peer.to_owned() } else { who };
    Ok(control::Provenance { who, why })
}

/// A name that must be given.
pub(in crate::admin) fn name(field: &str, name: String) -> Checked<String> {
    if name.is_empty() {
        return invalid(format!("{field} is empty; `netctl listeners` and `netctl pools` tell the names"));
    }
    Ok(name)
}

/// A query for pages, and how many connections to send in all.
pub(in crate::admin) fn connections(
    request: pb::ListConnectionsRequest,
) -> Checked<(control::ConnectionQuery, Option<u64>)> {
    let page_size = match request.page_size {
        0 => DEFAULT_PAGE,
        size if size <= MAX_PAGE => size,
        size => return invalid(format!("page_size is {size}; use 1 to {MAX_PAGE}, or 0 for {DEFAULT_PAGE}")),
    };
    let after = match request.page_token.as_str() {
        "" => None,
        token => Some(id(token).ok_or_else(|| {
            Refusal::Invalid(format!("page_token `{token}` was not given out by netd; use a next_page_token as it is"))
        })?),
    };
    let filter = filter(request.filter.unwrap_or_default())?;
    let limit = Some(request.limit).filter(|&limit| limit > 0);
    Ok((control::ConnectionQuery { filter, after, page_size: page_size as usize }, limit))
}

fn filter(filter: pb::ConnectionFilter) -> Checked<control::ConnectionFilter> {
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(control::ConnectionFilter {
        listener: given(filter.listener),
        pool: given(filter.pool),
        endpoint: given(filter.endpoint),
        source: given(filter.source).map(|text| network(&text)).transpose()?,
        min_age: filter.min_age.map(|age| duration("filter.min_age (--min-age)", age, MAX_AGE)).transpose()?,
        min_idle: filter.min_idle.map(|idle| duration("filter.min_idle (--min-idle)", idle, MAX_AGE)).transpose()?,
    })
}

/// An address, or a network as `ADDRESS/PREFIX`; bits behind the prefix are
/// cleared.
fn network(text: &str) -> Checked<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let Ok(address) = address.parse::<IpAddr>() else {
        return invalid(format!(
            "filter.source (--source) `{text}` is no IP address or network; write `192.0.2.7`, `192.0.2.0/24` or `2001:db8::/32`"
        ));
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix.map(str::parse::<u8>) {
        None => bits,
        Some(Ok(prefix)) if prefix <= bits => prefix,
        Some(_) => {
            return invalid(format!(
                "the prefix length in filter.source (--source) `{text}` must be a number from 0 to {bits}"
            ));
        }
    };
    Ok((masked(address, prefix), prefix))
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)).into()),
        IpAddr::V6(v6) => {
            IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)).into())
        }
    }
}

/// A connection's id: up to 16 hexadecimal digits.
fn id(text: &str) -> Option<u64> {
    let plain = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// Which connections to end. Ending all of them must be said twice.
pub(in crate::admin) fn close(request: pb::CloseConnectionRequest, peer: &str) -> Checked<control::CloseRequest> {
    if request.ids.len() > MAX_IDS {
        return invalid(format!("{} ids in one request; at most {MAX_IDS} are taken", request.ids.len()));
    }
    let read = |text: &String| {
        id(text).ok_or_else(|| {
            Refusal::Invalid(format!("`{text}` is no connection id; an id has 1 to 16 hexadecimal digits"))
        })
    };
    let ids = request.ids.iter().map(read).collect::<Checked<Vec<_>>>()?;
    let filter = match request.filter.unwrap_or_default() {
        empty if empty == pb::ConnectionFilter::default() => request.all.then(Default::default),
        _ if request.all => {
            return invalid("both a filter and `all` are set; leave `all` out to close only what matches");
        }
        given => Some(filter(given)?),
    };
    if ids.is_empty() && filter.is_none() {
        return invalid("name connections by ids or by a filter; to close every connection set `all`");
    }
    Ok(control::CloseRequest { ids, filter, by: provenance(request.by, peer)? })
}

/// A candidate; empty text means the daemon's own source.
pub(in crate::admin) fn candidate(toml: String) -> Candidate {
    if toml.is_empty() { Candidate::Source } else { Candidate::Text(toml) }
}

/// A reload.
pub(in crate::admin) fn reload(request: pb::ReloadRequest, peer: &str) -> Checked<control::ReloadRequest> {
    Ok(control::ReloadRequest {
        candidate: candidate(request.toml),
        expected_generation: Some(request.expected_generation).filter(|&generation| generation > 0),
        terms: generations::terms(request.confirm_within, request.guard)?,
        by: provenance(request.by, peer)?,
    })
}

/// A drain.
pub(in crate::admin) fn drain(request: pb::DrainRequest, peer: &str) -> Checked<control::DrainRequest> {
    let deadline = match (request.deadline, request.wait_forever) {
        (Some(_), true) => return invalid("both deadline and wait_forever are set; use one of them"),
        (None, true) => Deadline::Never,
        (given, false) => deadline(given)?,
    };
    let course = Course { moves: request.r#move, ..course(deadline, request.gradual, request.lame_duck)? };
    Ok(control::DrainRequest { target: target(request.target)?, course, by: provenance(request.by, peer)? })
}

/// What a drain is about.
pub(in crate::admin) fn target(target: Option<pb::Target>) -> Checked<control::Target> {
    use pb::target::Of;
    match target.and_then(|target| target.of) {
        None => invalid("target is missing; set one of daemon, listener, pool, endpoint, worker"),
        Some(Of::Daemon(true)) => Ok(control::Target::Daemon),
        Some(Of::Daemon(false)) => {
            invalid("target.daemon is false; set it to true, or name a listener, pool or endpoint")
        }
        Some(Of::Listener(listener)) => Ok(control::Target::Listener(name("target.listener", listener)?)),
        Some(Of::Pool(pool)) => Ok(control::Target::Pool(name("target.pool", pool)?)),
        Some(Of::Endpoint(endpoint)) => {
            let (pool, address) = endpoint_name("target.endpoint", endpoint)?;
            Ok(control::Target::Endpoint(pool, address))
        }
        Some(Of::Worker(index)) => Ok(control::Target::Worker(usize::try_from(index).unwrap_or(usize::MAX))),
    }
}

fn endpoint_name(field: &str, endpoint: pb::EndpointName) -> Checked<(String, String)> {
    Ok((name(&format!("{field}.pool"), endpoint.pool)?, name(&format!("{field}.address"), endpoint.address)?))
}

/// A stop of a listener.
pub(in crate::admin) fn stop(request: pb::StopListenerRequest, peer: &str) -> Checked<control::StopRequest> {
    Ok(control::StopRequest {
        name: name("name", request.name)?,
        expires_in: expires_in(request.expires_in)?,
        by: provenance(request.by, peer)?,
    })
}

/// An override of an endpoint.
pub(in crate::admin) fn set_endpoint(request: pb::SetEndpointRequest, peer: &str) -> Checked<control::SetEndpoint> {
    use pb::set_endpoint_request::Setting;
    let (pool, endpoint) = endpoint_name("endpoint", request.endpoint.unwrap_or_default())?;
    let expires_in = expires_in(request.expires_in)?;
    let setting = match request.setting {
        None => return invalid("nothing to set; give one of weight, drain, maintenance, clear"),
        Some(Setting::Weight(weight)) => match u16::try_from(weight) {
            Ok(weight) if weight <= MAX_WEIGHT => Some(EndpointOverride::Weight(weight)),
            _ => return invalid(format!("weight is {weight}; use 0 (drains) to {MAX_WEIGHT}")),
        },
        Some(Setting::Drain(true)) => Some(EndpointOverride::Draining),
        Some(Setting::Maintenance(true)) => Some(EndpointOverride::Maintenance),
        Some(Setting::Clear(true)) if expires_in.is_some() => {
            return invalid("expires_in is set, but clearing leaves nothing that could expire");
        }
        Some(Setting::Clear(true)) => None,
        Some(_) => return invalid("drain, maintenance and clear must be true; to take an override back use clear"),
    };
    Ok(control::SetEndpoint { pool, endpoint, setting, expires_in, by: provenance(request.by, peer)? })
}

/// Evening connections over the workers.
pub(in crate::admin) fn rebalance(request: pb::RebalanceRequest, peer: &str) -> Checked<control::RebalanceRequest> {
    let limit = Some(request.limit).filter(|&limit| limit > 0);
    Ok(control::RebalanceRequest { limit, by: provenance(request.by, peer)? })
}

/// A log level.
pub(in crate::admin) fn log_level(level: &str) -> Checked<LogLevel> {
    level.parse().map_err(Refusal::Invalid)
}

/// The kinds of events to send; empty: all.
pub(in crate::admin) fn event_kinds(kinds: &[String]) -> Checked<Vec<EventKind>> {
    let mut known = Vec::new();
    // Notices of missed events are sent in any case.
    for word in kinds.iter().filter(|word| *word != super::outgoing::MISSED) {
        let Some(kind) = EventKind::ALL.into_iter().find(|kind| kind.as_str() == word) else {
            let words = EventKind::ALL.map(EventKind::as_str).join(", ");
            return invalid(format!("`{word}` is no kind of event; there are {words}"));
        };
        if !known.contains(&kind) {
            known.push(kind);
        }
    }
    Ok(known)
}

/// A shutdown.
pub(in crate::admin) fn shutdown(request: pb::ShutdownRequest, peer: &str) -> Checked<control::ShutdownRequest> {
    if request.now && request.deadline.is_some() {
        return invalid("both now and deadline are set; use one of them");
    }
    if request.now && (request.gradual.is_some() || request.lame_duck.is_some()) {
        return invalid("now is set, which leaves no time for gradual or lame_duck");
    }
    let course = course(deadline(request.deadline)?, request.gradual, request.lame_duck)?;
    Ok(control::ShutdownRequest { now: request.now, course, by: provenance(request.by, peer)? })
}

fn course(
    deadline: Deadline,
    gradual: Option<prost_types::Duration>,
    lame_duck: Option<prost_types::Duration>,
) -> Checked<Course> {
    let time = |field, given: Option<_>| given.map(|given| duration_or_none(field, given)).transpose();
    let (gradual, lame_duck) = (time("gradual (--gradual)", gradual)?, time("lame_duck (--lame-duck)", lame_duck)?);
    Ok(Course { gradual, lame_duck, ..Course::until(deadline) })
}

/// A time, or no time at all.
fn duration_or_none(field: &str, given: prost_types::Duration) -> Checked<Duration> {
    match Duration::try_from(given) {
        Ok(Duration::ZERO) => Ok(Duration::ZERO),
        _ => duration(field, given, MAX_DURATION),
    }
}

fn deadline(deadline: Option<prost_types::Duration>) -> Checked<Deadline> {
    let Some(given) = deadline else { return Ok(Deadline::Configured) };
    Ok(Deadline::After(duration("deadline (--deadline)", given, MAX_DURATION)?))
}

fn expires_in(expires_in: Option<prost_types::Duration>) -> Checked<Option<Duration>> {
    expires_in.map(|given| duration("expires_in (--for)", given, MAX_DURATION)).transpose()
}

fn duration(field: &str, given: prost_types::Duration, max: Duration) -> Checked<Duration> {
    match Duration::try_from(given) {
        Ok(duration) if !duration.is_zero() && duration <= max => Ok(duration),
        _ => invalid(format!("{field} must be longer than 0 and at most {} days", max.as_secs() / 86_400)),
    }
}

#[cfg(test)]
mod tests;
