//! Finding an endpoint for a connection: one attempt after the other, before
//! the client has seen anything.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    config::{Address, Source},
    protocol::{CloseReason, DialFailure, Relay, Session, Step},
    reactor::{Ready, Turn},
    slots::SlotId,
    worker::{
        access::Span,
        command::Nobody,
        conn::{Attempt, Conn, Dial, Endpoint, Stage},
        key::{Key, Side},
        outgoing,
        pools::Client,
        run::Worker,
        transport::Transport,
        tunnel::Tunnel,
    },
};

/// For a pool that is gone; it is not used, since no endpoint is picked then.
const NO_TIMEOUT: Duration = Duration::ZERO;

impl Worker {
    /// Looks for an endpoint, for a connection that wants one.
    pub(super) fn dial(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if let (Stage::Session { session: Session::Relay(relay), wire }, Some(pool)) = (&mut conn.stage, conn.pool) {
            let relay = std::mem::replace(relay, Relay::new(0));
            let early = wire.incoming.take(&mut self.supplies.blocks);
            // The tunnel meets the end anew.
            conn.downstream.readable |= wire.incoming_ended;
            conn.stage = Stage::Dial(Box::new(Dial::new(relay, pool, early)));
            conn.trail.dialing_after = Span::of(turn.now.saturating_duration_since(conn.since));
            self.pools.enter(pool);
        }
        if !matches!(conn.stage, Stage::Dial(_)) {
            return self.close(slot, CloseReason::NO_ENDPOINT, true, turn);
        }
        if self.enter_pool(slot, turn) {
            self.attempt_until_pending(slot, turn);
        }
    }

    /// The kernel says something of the socket of an attempt.
    pub(super) fn on_attempt_ready(&mut self, slot: SlotId, ready: Ready, turn: &mut Turn<'_>) {
        let Some(Conn { stage: Stage::Dial(dial), .. }) = self.conns.get_mut(slot) else { return };
        let Some(attempt) = &mut dial.attempt else { return };
        attempt.upstream.note(ready);
        if !ready.writable {
            return;
        }
        if ready.error || ready.read_closed {
            let failure = attempt.upstream.stream.take_error().unwrap_or_else(Some);
            if let Some(error) = failure {
                return self.attempt_failed(slot, &error, turn);
            }
        }
        self.connected(slot, turn);
    }

    /// The time of an attempt is up.
    pub(super) fn attempt_timed_out(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        self.attempt_failed(slot, &io::Error::from_raw_os_error(libc::ETIMEDOUT), turn);
    }

    fn attempt_failed(&mut self, slot: SlotId, error: &io::Error, turn: &mut Turn<'_>) {
        match self.note_failure(slot, error, turn.now) {
            Some(Step::Close(reason)) => self.give_up(slot, reason, turn),
            Some(_) => self.attempt_until_pending(slot, turn),
            None => {}
        }
    }

    /// Tries endpoints until a connect is under way, or none is left.
    pub(super) fn attempt_until_pending(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        loop {
            let Some(Conn { stage: Stage::Dial(dial), endpoint, origin, hash, trail, .. }) = self.conns.get_mut(slot)
            else {
                return;
            };
            let (pool, again) = (dial.pool, !dial.tried.is_empty());
            let may = !again || self.pools.may_retry(pool);
            let client = Client { hash: *hash, source: origin.source };
            let picked = if may { self.pools.pick(pool, &dial.tried, client) } else { Err(Nobody::Taking) };
            let picked = picked.map(|(each, place)| (each.address.clone(), Arc::clone(&each.counters), each.id, place));
            let step = match picked {
                Err(Nobody::Full) if !again && dial.former.is_none() => match self.wait_in_line(slot, turn) {
                    true => continue,
                    false => return,
                },
                Err(Nobody::Suited) if !again => Step::Close(CloseReason::SOURCE_UNUSABLE),
                Err(_) => {
                    let step = dial.relay.failed(DialFailure::NoEndpoint);
                    let ends = !again && dial.former.is_none();
                    if let (true, Some(counters)) = (ends, self.pools.counters(pool)) {
                        counters.no_endpoint.add(1);
                    }
                    step
                }
                Ok((address, counters, id, place)) => {
                    trail.attempts = trail.attempts.saturating_add(1);
                    counters.active.add(1);
                    *endpoint = Some(Endpoint { id, place, counters });
                    dial.waiting = None;
                    self.pools.note_attempt(pool, again);
                    match self.begin_attempt(slot, address, turn) {
                        Ok(()) => return,
                        Err(error) => match self.note_failure(slot, &error, turn.now) {
                            Some(step) => step,
                            None => return,
                        },
                    }
                }
            };
            if let Step::Close(reason) = step {
                return self.give_up(slot, reason, turn);
            }
        }
    }

    fn begin_attempt(&mut self, slot: SlotId, address: Address, turn: &mut Turn<'_>) -> io::Result<()> {
        let Some(Conn { origin, pool, .. }) = self.conns.get(slot) else { return Ok(()) };
        let config = pool.and_then(|pool| self.pools.get(pool)).map(|pool| &*pool.config);
        let (stream, gathers) = (
            outgoing::connect(config, &address, origin.source)?,
            config.is_none_or(|config| config.tcp.nodelay.is_none()),
        );
        turn.watch(&stream, Key::Conn(slot, Side::Upstream).token())?;
        if let Some(Conn { stage: Stage::Dial(dial), .. }) = self.conns.get_mut(slot) {
            let timeout = self.pools.get(dial.pool).map_or(NO_TIMEOUT, |pool| pool.config.connect_timeout);
            let mut upstream = Transport::new(stream);
            upstream.writable = false;
            match &address {
                Address::Inet(_) if gathers => upstream.gathers(),
                Address::Inet(_) => {}
                Address::Unix(_) => upstream.stops_short(),
            }
            dial.attempt = Some(Attempt { upstream, begun: turn.now, deadline: turn.now + timeout });
        }
        self.rearm(slot, turn);
        Ok(())
    }

    fn connected(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let Stage::Dial(dial) = &mut conn.stage else { return };
        let Some(attempt) = dial.attempt.take() else { return };
        let (pool, early, former) = (dial.pool, std::mem::take(&mut dial.early), dial.former.take());
        if let Some(endpoint) = &conn.endpoint {
            endpoint.counters.connected.add(1);
            endpoint.counters.connect_time.record(turn.now.saturating_duration_since(attempt.begun));
            endpoint.counters.last_success_at.set(self.epoch.millis(turn.now));
        }
        let mut first = self.pools.get(pool).map(|pool| outgoing::preface(&pool.config, conn)).unwrap_or_default();
        let mut tunnel = Tunnel::new(conn.accelerate);
        if !first.is_empty() || !early.is_empty() {
            first.extend(early);
            tunnel.begin_with(first, &mut conn.downstream, &mut self.supplies);
        }
        conn.stage = Stage::Tunnel { upstream: attempt.upstream, tunnel };
        conn.progressed_at = turn.now;
        conn.trail.connected(conn.since, turn.now);
        self.pools.leave(pool);
        self.moved_on(former, pool);
        self.drive(slot, turn);
        if let Some(Conn { stage: Stage::Tunnel { upstream, .. }, .. }) = self.conns.get(slot)
            && upstream.sent == 0
        {
            // A server that speaks first, or an idle client: nothing to wait for.
            upstream.stream.acknowledge();
        }
    }

    /// Books a failed attempt and asks the session what to do about it.
    fn note_failure(&mut self, slot: SlotId, error: &io::Error, now: Instant) -> Option<Step> {
        let conn = self.conns.get_mut(slot)?;
        let Stage::Dial(dial) = &mut conn.stage else { return None };
        dial.attempt = None;
        let connects_as_client = self.pools.get(dial.pool).is_some_and(|pool| pool.config.source == Source::Client);
        let failure = classify(error, connects_as_client);
        if let Some(endpoint) = conn.endpoint.take() {
            endpoint.counters.active.sub(1);
            if matches!(failure, DialFailure::Refused | DialFailure::TimedOut) {
                endpoint.counters.connect_failures.add(1);
                endpoint.counters.last_failure.set(error.raw_os_error().unwrap_or(libc::EIO).unsigned_abs().into());
                endpoint.counters.last_failure_at.set(self.epoch.millis(now));
            }
            dial.tried.push(endpoint.id);
            drop(endpoint);
            self.pools.freed(dial.pool);
        }
        let step = dial.relay.failed(failure);
        if step == Step::Close(CloseReason::RESOURCE) {
            tracing::warn!(worker = self.index, %error, "cannot open a connection to an upstream: this machine is out of something");
        }
        Some(step)
    }
}

/// What a failure is; `as_client`: the connect was from the client's address.
fn classify(error: &io::Error, as_client: bool) -> DialFailure {
    match error.raw_os_error().unwrap_or(0) {
        libc::ETIMEDOUT => DialFailure::TimedOut,
        // Who the client is is up to it: the endpoint has no part in an address
        // that cannot be bound or has no port left.
        libc::EAFNOSUPPORT | libc::EINVAL | libc::EADDRNOTAVAIL | libc::EADDRINUSE if as_client => DialFailure::Source,
        libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS | libc::ENOSPC => DialFailure::Resource,
        // EADDRNOTAVAIL among them: ports run out an address at a time, so
        // another endpoint may well be reached.
        _ => DialFailure::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_endpoint_would_not_help() {
        let failure = |errno| classify(&io::Error::from_raw_os_error(errno), false);
        assert_eq!(failure(libc::EMFILE), DialFailure::Resource);
        assert_eq!(failure(libc::ECONNREFUSED), DialFailure::Refused);
        assert_eq!(failure(libc::EADDRNOTAVAIL), DialFailure::Refused, "ports run out an address at a time");
        assert_eq!(failure(libc::EAGAIN), DialFailure::Refused, "the queue of a Unix socket is full");
        assert_eq!(failure(libc::ETIMEDOUT), DialFailure::TimedOut);
    }

    #[test]
    fn what_the_clients_own_address_is_to_blame_for() {
        let failure = |errno, as_client| classify(&io::Error::from_raw_os_error(errno), as_client);
        for errno in [libc::EAFNOSUPPORT, libc::EINVAL, libc::EADDRNOTAVAIL, libc::EADDRINUSE] {
            assert_eq!(failure(errno, true), DialFailure::Source);
            assert_eq!(failure(errno, false), DialFailure::Refused);
        }
        assert_eq!(failure(libc::ECONNREFUSED, true), DialFailure::Refused);
        assert_eq!(failure(libc::ETIMEDOUT, true), DialFailure::TimedOut);
        assert_eq!(failure(libc::EMFILE, true), DialFailure::Resource);
    }
}
