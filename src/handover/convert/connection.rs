//! A connection and its file descriptors.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
    time::Instant,
};

use super::{Wrong, nanos, there, wrong};
use crate::{
    config::Accelerate,
    control::Moving,
    handover::moment::Moments,
    pb::handover as pb,
    pb::handover::{connection::Stage, flow, session::Rules},
    protocol::{
        DialFailure,
        proxy_header::{Accepts, MAX_LENGTH, Tlvs},
    },
    worker::{
        EndpointId, FlowState, Held, ListenerId, Parcel, ParcelAttempt, ParcelFlow, ParcelSession, ParcelSide,
        ParcelStage, Places, PoolId, Span, Trail, Via,
    },
};

/// In the place of a process's own numbers: whoever takes the connection fills
/// them in by name.
const UNKNOWN: u32 = u32::MAX;

const ACCELERATE: [Accelerate; 3] = [Accelerate::Auto, Accelerate::Splice, Accelerate::Off];
const ACCEPTS: [(Accepts, &str); 3] = [(Accepts::V1, "v1"), (Accepts::V2, "v2"), (Accepts::Any, "any")];
const FAILURES: [(DialFailure, &str); 5] = [
    (DialFailure::Refused, "refused"),
    // Not every netd knows of it.
    (DialFailure::Source, "refused"),
    (DialFailure::TimedOut, "timed-out"),
    (DialFailure::Resource, "resource"),
    (DialFailure::NoEndpoint, "no-endpoint"),
];
const FLOWS: [(FlowState, &str); 4] = [
    (FlowState::Open, "open"),
    (FlowState::Ending, "ending"),
    (FlowState::Ended, "ended"),
    (FlowState::Sinking, "sinking"),
];

/// The features that the other side must have to take it.
pub(in super::super) fn feature(moving: &Moving) -> (&'static str, Option<&'static str>) {
    let is_pipe = |flow: &ParcelFlow| matches!(flow.held, Held::Pipe { .. });
    match &moving.parcel.stage {
        ParcelStage::Session { session: ParcelSession::Header { .. }, .. } => ("session", Some("header")),
        ParcelStage::Session { .. } => ("session", None),
        ParcelStage::Dial { early, .. } => ("dial", (!early.is_empty()).then_some("header")),
        ParcelStage::Tunnel { up, down, .. } => ("tunnel", (is_pipe(up) || is_pipe(down)).then_some("pipe")),
    }
}

/// The message; its file descriptors are added to `fds`.
pub(in super::super) fn to_connection<'a>(
    moving: &'a Moving,
    moments: Moments,
    fds: &mut Vec<BorrowedFd<'a>>,
) -> pb::Connection {
    let parcel = &moving.parcel;
    let before = fds.len();
    let downstream = to_side(&parcel.downstream, fds);
    let stage = to_stage(&parcel.stage, moments, fds);
    pb::Connection {
        id: parcel.id,
        listener: moving.listener.clone(),
        pool: moving.pool.clone(),
        endpoint: moving.endpoint.as_ref().map(to_name),
        tried: moving.tried.iter().map(to_name).collect(),
        source: parcel.source.map(|source| source.to_string()),
        since: moments.to_nanos(parcel.since),
        progressed_at: moments.to_nanos(parcel.progressed_at),
        idle_timeout_nanos: parcel.idle_timeout.map(nanos),
        accelerate: parcel.accelerate.as_str().to_owned(),
        downstream: Some(downstream),
        fds: u32::try_from(fds.len() - before).unwrap_or(u32::MAX),
        stage: Some(stage),
        via: parcel.via.as_deref().map(to_via),
        trail: Some(to_trail(&parcel.trail)),
        hash: parcel.hash,
    }
}

fn to_trail(trail: &Trail) -> pb::Trail {
    pb::Trail {
        silent: trail.silent,
        attempts: u32::from(trail.attempts),
        dialing_after_nanos: trail.dialing_after.get().map(nanos),
        connect_time_nanos: trail.connect_time.get().map(nanos),
    }
}

fn from_trail(trail: pb::Trail) -> Trail {
    let span = |nanos: Option<u64>| nanos.map_or_else(Span::default, |nanos| Span::of(Duration::from_nanos(nanos)));
    Trail {
        silent: trail.silent,
        attempts: u16::try_from(trail.attempts).unwrap_or(u16::MAX),
        dialing_after: span(trail.dialing_after_nanos),
        connect_time: span(trail.connect_time_nanos),
    }
}

fn to_via(via: &Via) -> pb::Via {
    let Tlvs { authority, alpn, unique_id, netns } = via.tlvs.clone();
    pb::Via {
        peer: via.peer.map(|peer| peer.to_string()),
        destination: via.destination.to_string(),
        authority: authority.map(String::from),
        alpn: alpn.map(Vec::from),
        unique_id: unique_id.map(Vec::from),
        netns: netns.map(String::from),
    }
}

fn from_via(via: pb::Via) -> Result<Via, Wrong> {
    let address = |text: &str| text.parse().map_err(|_| Wrong(format!("no address of a proxy: `{text}`")));
    Ok(Via {
        peer: via.peer.as_deref().map(address).transpose()?,
        destination: address(&via.destination)?,
        tlvs: Tlvs {
            authority: via.authority.map(Into::into),
            alpn: via.alpn.map(Into::into),
            unique_id: via.unique_id.map(Into::into),
            netns: via.netns.map(Into::into),
        },
    })
}

fn to_name((pool, address): &(String, String)) -> pb::EndpointName {
    pb::EndpointName { pool: pool.clone(), address: address.clone() }
}

fn to_side<'a>(side: &'a ParcelSide, fds: &mut Vec<BorrowedFd<'a>>) -> pb::Side {
    fds.push(side.socket.as_fd());
    pb::Side {
        received: side.received,
        sent: side.sent,
        gathers: side.gathers,
        urgent: side.urgent,
        failed: side.failed,
    }
}

fn to_stage<'a>(stage: &'a ParcelStage, moments: Moments, fds: &mut Vec<BorrowedFd<'a>>) -> Stage {
    match stage {
        ParcelStage::Session { session, incoming, incoming_ended, outgoing, outgoing_ended, end_sent } => {
            Stage::Session(pb::Session {
                rules: Some(to_rules(session, moments)),
                incoming: incoming.clone(),
                incoming_ended: *incoming_ended,
                outgoing: outgoing.clone(),
                outgoing_ended: *outgoing_ended,
                end_sent: *end_sent,
            })
        }
        ParcelStage::Dial { early, retries_left, failed, tried: _, attempt } => Stage::Dial(pb::Dial {
            early: early.clone(),
            retries_left: u32::from(*retries_left),
            failed: failed.and_then(|failed| word(&FAILURES, failed)).unwrap_or_default(),
            attempt: attempt.as_ref().map(|attempt| pb::Attempt {
                upstream: Some(to_side(&attempt.upstream, fds)),
                begun: moments.to_nanos(attempt.begun),
                deadline: moments.to_nanos(attempt.deadline),
            }),
        }),
        ParcelStage::Tunnel { upstream, up, down, upstream_ended_first, upstream_gone, sink_until } => {
            let upstream = to_side(upstream, fds);
            Stage::Tunnel(pb::Tunnel {
                upstream: Some(upstream),
                up: Some(to_flow(up, fds)),
                down: Some(to_flow(down, fds)),
                upstream_ended_first: *upstream_ended_first,
                upstream_gone: *upstream_gone,
                sink_until: sink_until.map(|until| moments.to_nanos(until)),
            })
        }
    }
}

fn to_rules(session: &ParcelSession, moments: Moments) -> Rules {
    match session {
        ParcelSession::Echo => Rules::Echo(pb::Echo {}),
        ParcelSession::Discard => Rules::Discard(pb::Discard {}),
        ParcelSession::Respond { rest, until } => {
            Rules::Respond(pb::Respond { rest: rest.clone(), until: until.map(|until| moments.to_nanos(until)) })
        }
        ParcelSession::Header { accepts, until, gathered, next } => Rules::Header(Box::new(pb::Header {
            accepts: word(&ACCEPTS, *accepts).unwrap_or_default(),
            until: moments.to_nanos(*until),
            gathered: gathered.clone(),
            next: Some(Box::new(pb::Session { rules: Some(to_rules(next, moments)), ..pb::Session::default() })),
        })),
        ParcelSession::Relay { retries } => Rules::Relay(pb::Relay { retries: u32::from(*retries) }),
    }
}

fn to_flow<'a>(each: &'a ParcelFlow, fds: &mut Vec<BorrowedFd<'a>>) -> pb::Flow {
    let held = match &each.held {
        Held::Bytes(bytes) => flow::Held::Bytes(bytes.clone()),
        Held::Pipe { read, write, held } => {
            fds.extend([read.as_fd(), write.as_fd()]);
            flow::Held::Pipe(*held as u64)
        }
    };
    pb::Flow { state: word(&FLOWS, each.state).unwrap_or_default(), held: Some(held) }
}

fn word<T: PartialEq>(table: &[(T, &str)], value: T) -> Option<String> {
    table.iter().find(|(each, _)| *each == value).map(|(_, word)| (*word).to_owned())
}

fn meaning<T: Copy>(table: &[(T, &str)], word: &str, what: &str) -> Result<T, Wrong> {
    match table.iter().find(|(_, each)| *each == word) {
        Some((value, _)) => Ok(*value),
        None => wrong(format!("{what} is not known: `{word}`")),
    }
}

/// Its file descriptors, taken one after the other.
struct Fds(std::vec::IntoIter<OwnedFd>);

impl Fds {
    fn take(&mut self) -> Result<OwnedFd, Wrong> {
        there(self.0.next(), "a file descriptor")
    }
}

/// The connection; `fds` are its own, exactly.
pub(in super::super) fn from_connection(
    message: pb::Connection,
    moments: Moments,
    fds: Vec<OwnedFd>,
) -> Result<Moving, Wrong> {
    let mut fds = Fds(fds.into_iter());
    let Some(&accelerate) = ACCELERATE.iter().find(|each| each.as_str() == message.accelerate) else {
        return wrong(format!("a way to move bytes is not known: `{}`", message.accelerate));
    };
    let source = match message.source {
        Some(source) => match source.parse::<SocketAddr>() {
            Ok(source) => Some(source),
            Err(_) => return wrong(format!("no address of a client: `{source}`")),
        },
        None => None,
    };
    let tried: Vec<_> = message.tried.into_iter().map(from_name).collect();
    let endpoint = message.endpoint.map(from_name);
    let downstream = from_side(message.downstream, &mut fds)?;
    let stage = from_stage(there(message.stage, "what it was doing")?, tried.len(), moments, &mut fds)?;
    if fds.take().is_ok() {
        return wrong("it comes with more file descriptors than it has");
    }
    let parcel = Parcel {
        id: message.id,
        listener: ListenerId(UNKNOWN),
        source,
        via: message.via.map(from_via).transpose()?.map(Box::new),
        since: moment(moments, message.since)?,
        progressed_at: moment(moments, message.progressed_at)?,
        idle_timeout: message.idle_timeout_nanos.map(Duration::from_nanos),
        accelerate,
        pool: message.pool.is_some().then_some(PoolId(UNKNOWN)),
        trail: from_trail(message.trail.unwrap_or_default()),
        endpoint: endpoint.is_some().then_some(EndpointId(UNKNOWN)),
        hash: message.hash,
        downstream,
        stage,
        places: Places::default(),
    };
    Ok(Moving { listener: message.listener, pool: message.pool, endpoint, tried, parcel })
}

fn from_name(name: pb::EndpointName) -> (String, String) {
    (name.pool, name.address)
}

fn moment(moments: Moments, nanos: i64) -> Result<Instant, Wrong> {
    there(moments.to_instant(nanos), "a moment that this clock knows")
}

fn from_side(side: Option<pb::Side>, fds: &mut Fds) -> Result<ParcelSide, Wrong> {
    let side = there(side, "a side")?;
    Ok(ParcelSide {
        socket: fds.take()?,
        received: side.received,
        sent: side.sent,
        gathers: side.gathers,
        urgent: side.urgent,
        failed: side.failed,
    })
}

fn from_stage(stage: Stage, tried: usize, moments: Moments, fds: &mut Fds) -> Result<ParcelStage, Wrong> {
    Ok(match stage {
        Stage::Session(session) => ParcelStage::Session {
            session: from_rules(there(session.rules, "the rules of a session")?, moments)?,
            incoming: session.incoming,
            incoming_ended: session.incoming_ended,
            outgoing: session.outgoing,
            outgoing_ended: session.outgoing_ended,
            end_sent: session.end_sent,
        },
        Stage::Dial(dial) => ParcelStage::Dial {
            early: dial.early,
            retries_left: small(dial.retries_left)?,
            failed: match dial.failed.as_str() {
                "" => None,
                word => Some(meaning(&FAILURES, word, "a failure")?),
            },
            tried: vec![EndpointId(UNKNOWN); tried],
            attempt: dial.attempt.map(|attempt| from_attempt(attempt, moments, fds)).transpose()?,
        },
        Stage::Tunnel(tunnel) => ParcelStage::Tunnel {
            upstream: from_side(tunnel.upstream, fds)?,
            up: from_flow(tunnel.up, fds)?,
            down: from_flow(tunnel.down, fds)?,
            upstream_ended_first: tunnel.upstream_ended_first,
            upstream_gone: tunnel.upstream_gone,
            sink_until: tunnel.sink_until.map(|until| moment(moments, until)).transpose()?,
        },
    })
}

fn from_attempt(attempt: pb::Attempt, moments: Moments, fds: &mut Fds) -> Result<ParcelAttempt, Wrong> {
    Ok(ParcelAttempt {
        upstream: from_side(attempt.upstream, fds)?,
        begun: moment(moments, attempt.begun)?,
        deadline: moment(moments, attempt.deadline)?,
    })
}

fn from_rules(rules: Rules, moments: Moments) -> Result<ParcelSession, Wrong> {
    Ok(match rules {
        Rules::Echo(_) => ParcelSession::Echo,
        Rules::Discard(_) => ParcelSession::Discard,
        Rules::Respond(respond) => ParcelSession::Respond {
            rest: respond.rest,
            until: respond.until.map(|until| moment(moments, until)).transpose()?,
        },
        Rules::Header(header) => {
            let next = there(header.next, "what follows a header")?;
            let next = from_rules(there(next.rules, "the rules of a session")?, moments)?;
            if matches!(next, ParcelSession::Header { .. }) || header.gathered.len() > MAX_LENGTH {
                return wrong("a header is followed by a header, or longer than any");
            }
            ParcelSession::Header {
                accepts: meaning(&ACCEPTS, &header.accepts, "a version of the PROXY protocol")?,
                until: moment(moments, header.until)?,
                gathered: header.gathered,
                next: Box::new(next),
            }
        }
        Rules::Relay(relay) => ParcelSession::Relay { retries: small(relay.retries)? },
    })
}

fn from_flow(each: Option<pb::Flow>, fds: &mut Fds) -> Result<ParcelFlow, Wrong> {
    let each = there(each, "a direction")?;
    let held = match there(each.held, "what a direction holds")? {
        flow::Held::Bytes(bytes) => Held::Bytes(bytes),
        flow::Held::Pipe(held) => Held::Pipe {
            read: fds.take()?,
            write: fds.take()?,
            held: usize::try_from(held).map_err(|_| Wrong("a pipe of more bytes than there are".to_owned()))?,
        },
    };
    Ok(ParcelFlow { state: meaning(&FLOWS, &each.state, "how far a direction is")?, held })
}

fn small(number: u32) -> Result<u8, Wrong> {
    u8::try_from(number).map_err(|_| Wrong(format!("{number} retries")))
}
