//! A TCP relay as one would write it with pingora: its server, its listener,
//! its connector, and tokio's copying in both directions, which passes
//! half-closes on.
//!
//! `pingora-relay ADDRESS ORIGIN BUFFER`: where it accepts, where it connects
//! to, and bytes of the buffer that each direction of a connection has.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::{
    apps::ServerApp,
    connectors::TransportConnector,
    protocols::Stream,
    server::{Server, ShutdownWatch, configuration::ServerConf},
    services::listening::Service,
    upstreams::peer::BasicPeer,
};
use tokio::io::copy_bidirectional_with_sizes;

struct Relay {
    connector: TransportConnector,
    origin: BasicPeer,
    buffer: usize,
}

#[async_trait]
impl ServerApp for Relay {
    async fn process_new(self: &Arc<Self>, mut client: Stream, _: &ShutdownWatch) -> Option<Stream> {
        let mut origin = self.connector.new_stream(&self.origin).await.ok()?;
        // That a connection failed is no news here.
        let _ = copy_bidirectional_with_sizes(&mut client, &mut origin, self.buffer, self.buffer).await;
        None
    }
}

fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["--version"] {
        println!("pingora-relay with pingora {}", env!("PINGORA"));
        return Ok(());
    }
    let [address, origin, buffer] = arguments.as_slice() else {
        return Err("usage: pingora-relay ADDRESS ORIGIN BUFFER".to_owned());
    };
    let buffer = buffer.parse().map_err(|error| format!("{buffer:?}: {error}"))?;
    let relay = Relay { connector: TransportConnector::new(None), origin: BasicPeer::new(origin), buffer };
    let mut service = Service::new("relay".to_owned(), relay);
    service.add_tcp(address);
    // One thread, and none that it could take work from.
    let configuration = ServerConf { threads: 1, work_stealing: false, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    server.add_service(service);
    server.run_forever()
}
