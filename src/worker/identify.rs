//! Who a connection comes from: the socket's peer, or, behind a proxy, whom its
//! PROXY header says.

use std::{net::SocketAddr, time::Instant};

use crate::{
    config::{Proxy, ProxyVersions, Untrusted},
    protocol::{
        Awaiting, Session,
        proxy_header::{Accepts, Addresses, Header, Tlvs},
    },
    reactor::Turn,
    slots::SlotId,
    worker::{
        conn::{Conn, Origin, Stage},
        run::Worker,
    },
};

/// What a PROXY header has told of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// The proxy: the socket's peer; `None` for Unix sockets.
    pub peer: Option<SocketAddr>,
    /// Where the client connected to.
    pub destination: SocketAddr,
    /// What else was said.
    pub tlvs: Tlvs,
}

/// How a new connection begins.
#[derive(Debug)]
pub(super) enum Beginning {
    /// With its session.
    Session(Session),
    /// Not at all: its source may not send a header, and nothing else is taken.
    Refused(Session),
}

/// How a connection from `source` begins on a listener with these settings.
pub(super) fn beginning(proxy: &Proxy, source: Option<SocketAddr>, session: Session, now: Instant) -> Beginning {
    let accepts = match proxy.accept {
        ProxyVersions::Off => return Beginning::Session(session),
        ProxyVersions::V1 => Accepts::V1,
        ProxyVersions::V2 => Accepts::V2,
        ProxyVersions::Any => Accepts::Any,
    };
    if names_another(proxy, source) {
        let awaiting = Awaiting::new(accepts, now + proxy.timeout, session);
        return Beginning::Session(Session::Header(Box::new(awaiting)));
    }
    match proxy.untrusted {
        Untrusted::Refuse => Beginning::Refused(session),
        Untrusted::Plain => Beginning::Session(session),
    }
}

/// Whether a connection from `source` begins with a header that says who the
/// client is.
pub(super) fn names_another(proxy: &Proxy, source: Option<SocketAddr>) -> bool {
    // Who may connect to a Unix socket is said by its mode.
    proxy.accept != ProxyVersions::Off && source.is_none_or(|source| proxy.trusted.contains(source.ip()))
}

impl Origin {
    /// The connection came in over a Unix socket.
    pub(super) fn is_unix(&self) -> bool {
        self.via.as_ref().map_or(self.source, |via| via.peer).is_none()
    }

    /// Takes in what the header says; a proxy that speaks for itself, or does
    /// not know, leaves all as it is.
    fn learn(&mut self, header: Header) {
        if let Header { local: false, addresses: Some(Addresses { source, destination }), tlvs } = header {
            let peer = self.source.replace(source);
            self.via = Some(Box::new(Via { peer, destination, tlvs }));
        }
    }
}

impl Worker {
    /// The PROXY header of a connection is there: its source is known from now
    /// on, and it is admitted by it, as others are at accept.
    pub(super) fn identified(&mut self, slot: SlotId, turn: &mut Turn<'_>) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let Conn { origin, stage: Stage::Session { session, .. }, .. } = conn else { return };
        match std::mem::replace(session, Session::Discard(crate::protocol::Discard)) {
            Session::Header(awaiting) => {
                let (header, next) = awaiting.finish();
                origin.learn(header);
                *session = next;
            }
            other => *session = other,
        }
        let has_come_directly = origin.via.is_none();
        conn.is_named(turn.now);
        // A proxy that speaks for itself is trusted to.
        if has_come_directly || self.admit_named(slot, turn) {
            self.drive(slot, turn);
        }
    }

    /// Says why a PROXY header was refused, for those who look for it.
    pub(super) fn tell_malformed(&self, slot: SlotId) {
        let Some(Conn { id, origin, stage: Stage::Session { session: Session::Header(awaiting), .. }, .. }) =
            self.conns.get(slot)
        else {
            return;
        };
        if let Some(why) = awaiting.malformed() {
            let id = format_args!("{id:x}");
            match origin.source {
                Some(source) => tracing::debug!(connection = id, %source, "{why}"),
                None => tracing::debug!(connection = id, "{why}"),
            }
        }
    }
}
