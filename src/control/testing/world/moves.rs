//! Connections and sockets that leave a fake worker, or come to it.

use std::{fs::File, os::fd::OwnedFd};

use super::{Connection, Inner, matches};
use crate::{
    config::Accelerate,
    worker::{
        Arrival, Command, ConnectionInfo, ConnectionState, Door, ListenerSpec, Parcel, ParcelSession, ParcelSide,
        ParcelStage, Places, Selection, Trail,
    },
};

pub(super) fn obey(inner: &mut Inner, order: Command) {
    match order {
        Command::Export { selection, limit, reply } => {
            let wanted = |info: &ConnectionInfo| match &selection {
                Selection::Ids(ids) => ids.contains(&info.id),
                Selection::Matching(filter) => matches(filter, info),
            };
            let mut infos: Vec<ConnectionInfo> = inner.connections.iter().map(|each| each.info.clone()).collect();
            infos.retain(wanted);
            infos.truncate(limit);
            inner.end(|info| infos.iter().any(|each| each.id == info.id));
            inner.shard.moved_out.add(infos.len() as u64);
            inner.log.push(format!("export {}", infos.len()));
            reply.send(infos.iter().map(parcel).collect());
        }
        Command::Import(arrivals, reply) => {
            inner.log.push(format!("import {}", arrivals.len()));
            arrivals.into_iter().for_each(|arrival| arrive(inner, arrival));
            reply.send(Vec::new());
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn obey_of_sockets(inner: &mut Inner, order: Command) {
    match order {
        Command::ReleaseListener(id, reply) => {
            let name = inner.listeners.remove(&id).map(|spec| spec.config.name.clone());
            inner.log.push(format!("release {}", name.unwrap_or_default()));
            let (released, kept) = std::mem::take(&mut inner.sockets).into_iter().partition(|(each, _)| *each == id);
            inner.sockets = kept;
            let released: Vec<_> = released;
            reply.send(released.into_iter().map(|(_, socket)| socket).collect());
        }
        Command::DuplicateListener(id, reply) => {
            let sockets = inner.sockets.iter().filter(|(each, _)| *each == id);
            reply.send(sockets.map(|(_, socket)| socket.duplicate()).collect::<std::io::Result<_>>());
        }
        Command::ShareListener(id, count, reply) => {
            let socket = inner.sockets.iter().find(|(each, _)| *each == id).map(|(_, socket)| socket);
            let shared = socket.into_iter().cycle().take(count).filter_map(|socket| socket.share().ok());
            reply.send(shared.collect());
        }
        Command::PauseListener(_, reply) => {
            inner.log.push("pause".to_owned());
            reply.send(());
        }
        Command::ResumeListener(_) => inner.log.push("resume".to_owned()),
        other => panic!("{other:?}"),
    }
}

fn parcel(info: &ConnectionInfo) -> Parcel {
    Parcel {
        id: info.id,
        listener: info.listener,
        source: info.source,
        via: None,
        since: info.since,
        progressed_at: info.progressed_at,
        idle_timeout: None,
        accelerate: Accelerate::Off,
        pool: None,
        trail: Trail::default(),
        endpoint: info.endpoint,
        hash: 0,
        downstream: ParcelSide {
            socket: OwnedFd::from(File::open("/dev/null").unwrap()),
            received: info.bytes_from_downstream,
            sent: info.bytes_to_downstream,
            gathers: false,
            urgent: false,
            failed: false,
        },
        stage: ParcelStage::Session {
            session: ParcelSession::Echo,
            incoming: Vec::new(),
            incoming_ended: false,
            outgoing: Vec::new(),
            outgoing_ended: false,
            end_sent: false,
        },
        places: Places::default(),
    }
}

fn arrive(inner: &mut Inner, arrival: Arrival) {
    let Arrival { parcel, listener, door, endpoint } = arrival;
    let info = ConnectionInfo {
        via: None,
        id: parcel.id,
        listener: parcel.listener,
        source: parcel.source,
        endpoint: parcel.endpoint,
        state: ConnectionState::Open,
        since: parcel.since,
        progressed_at: parcel.progressed_at,
        bytes_from_downstream: parcel.downstream.received,
        bytes_to_downstream: parcel.downstream.sent,
    };
    listener.active.add(1);
    inner.shard.active.add(1);
    inner.shard.moved_in.add(1);
    if let Some(endpoint) = &endpoint {
        endpoint.counters.active.add(1);
    }
    let Door { gate, config } = door.expect("a known listener");
    let spec = ListenerSpec { id: parcel.listener, config, pools: Vec::new(), counters: listener, gate };
    inner.connections.push(Connection { info, spec, endpoint: endpoint.map(|each| each.counters) });
}
