//! netctl as a whole, against a daemon that has its answers ready.

mod balancing;
mod checks;
mod docs;
mod drain;
mod failures;
mod fake;
mod requests;
mod terminal;
mod trial;

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Parser;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;

use crate::pb::admin_server::AdminServer;

use super::{Args, Surroundings, run};
use fake::{Fake, NOW};

/// How one run ended.
#[derive(Debug)]
struct Ran {
    status: u8,
    out: String,
    err: String,
}

/// A fake daemon on a socket of its own.
struct Daemon {
    directory: tempfile::TempDir,
    fake: Fake,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fake = Fake::default();
        let listener = UnixListener::bind(directory.path().join("admin.sock")).unwrap();
        let server = tonic::transport::Server::builder().add_service(AdminServer::new(fake.clone()));
        tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        Self { directory, fake }
    }

    fn admin(&self) -> String {
        format!("unix:{}", self.directory.path().join("admin.sock").display())
    }

    fn args(&self, words: &[&str]) -> Args {
        let admin = self.admin();
        Args::try_parse_from([&["netctl", "--admin", &admin], words].concat()).unwrap()
    }

    async fn netctl(&self, words: &[&str]) -> Ran {
        netctl(self.args(words), &around()).await
    }

    async fn netctl_on_terminal(&self, words: &[&str], width: u16, colour: bool) -> Ran {
        netctl(self.args(words), &Surroundings { terminal_width: Some(width), colour, ..around() }).await
    }
}

async fn netctl(args: Args, around: &Surroundings) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = run(args, around, &mut out, &mut err).await.code();
    Ran { status, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

/// A pipe, and a clock that stands.
fn around() -> Surroundings {
    Surroundings {
        admin: None,
        user: "anna".to_owned(),
        uid: 1000,
        system_socket: PathBuf::from("/absent/netd/admin.sock"),
        runtime_dir: Some(PathBuf::from("/nonexistent")),
        terminal_width: None,
        colour: false,
        clock: || SystemTime::UNIX_EPOCH + Duration::from_secs(NOW),
    }
}
