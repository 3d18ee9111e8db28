//! The ways to an origin: none between, netd, and the peers that are there.

use std::{collections::BTreeMap, io, net::SocketAddr, path::PathBuf};

use crate::{
    launch,
    pin::{Cpus, on},
    programs::{self, Program},
    proxy_process::Proxy,
};

/// A way to an origin.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Its program; none of it for `Direct` and netd.
    pub(crate) program: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Direct,
    Netd,
    /// Without splice.
    NetdCopy,
    /// With [`launch::MANY`] listeners and endpoints.
    NetdMany,
    /// With one worker on the CPU of the load.
    NetdBeside,
    /// With two workers, one on each CPU.
    NetdTwo,
    /// A minimal relay, or a minimal echo server where that is measured.
    Floor,
    Haproxy,
    HaproxySplice,
    Nginx,
    Sozu,
    /// Built so that it splices.
    SozuSplice,
    Pingora,
    Envoy,
}

/// What a proxy is tuned for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tuning {
    Small,
    Bulk,
    /// Both at once.
    Mixed,
    /// Small ones, and the proxy can be reloaded.
    Reload,
    /// Small ones, and no origin: the server itself echoes.
    Echo,
    /// Small ones; what is compared is netd with more configured.
    Many,
    /// Small ones; what is compared is netd with more workers.
    Workers,
}

/// A way that is open. The proxy ends with it.
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    pub(crate) proxy: Option<Proxy>,
}

/// All ways that there are on this machine.
pub(crate) struct Field {
    peers: Vec<Peer>,
    /// What is not there, and why.
    pub(crate) left_out: BTreeMap<String, String>,
    /// What is there, by its own words.
    pub(crate) versions: Vec<String>,
}

/// A program that is looked for.
struct Wanted {
    name: &'static str,
    /// The variable of the environment that lists others instead.
    variable: &'static str,
    /// What makes it tell its version.
    option: &'static str,
    /// The ways that it is, with the ends of their names.
    ways: &'static [(Kind, &'static str)],
}

impl Wanted {
    const fn new(
        name: &'static str,
        variable: &'static str,
        option: &'static str,
        ways: &'static [(Kind, &'static str)],
    ) -> Self {
        Self { name, variable, option, ways }
    }
}

const PROGRAMS: [Wanted; 6] = [
    Wanted::new("haproxy", "NETD_BENCH_HAPROXY", "-v", &[(Kind::HaproxySplice, "_splice"), (Kind::Haproxy, "")]),
    Wanted::new("nginx", "NETD_BENCH_NGINX", "-v", &[(Kind::Nginx, "")]),
    Wanted::new("sozu", "NETD_BENCH_SOZU", "--version", &[(Kind::Sozu, "")]),
    Wanted::new("sozu-splice", "NETD_BENCH_SOZU_SPLICE", "--version", &[(Kind::SozuSplice, "")]),
    Wanted::new("pingora-relay", "NETD_BENCH_PINGORA", "--version", &[(Kind::Pingora, "")]),
    Wanted::new("envoy", "NETD_BENCH_ENVOY", "--version", &[(Kind::Envoy, "")]),
];

impl Field {
    /// Looks for all of them. `only` has the beginnings of the names that are
    /// wanted; all are if it is empty.
    pub(crate) fn find(only: &[String]) -> Self {
        let is_wanted = |name: &str| only.is_empty() || only.iter().any(|wanted| name.starts_with(wanted.as_str()));
        let mut field = Self { peers: Vec::new(), left_out: BTreeMap::new(), versions: Vec::new() };
        let netd = PathBuf::from(env!("CARGO_BIN_EXE_netd"));
        field.versions.extend(programs::output(&netd, "--version").iter().map(|line| line.trim().to_owned()));
        let own = [
            (Kind::Direct, "direct"),
            (Kind::Netd, "netd"),
            (Kind::NetdCopy, "netd_copy"),
            (Kind::NetdMany, "netd_many"),
            (Kind::NetdBeside, "netd_beside_load"),
            (Kind::NetdTwo, "netd_2_workers"),
        ];
        for (kind, name) in own {
            field.peers.push(Peer { name: name.to_owned(), kind, program: netd.clone() });
        }
        let others = programs::variable_of("NETD_BENCH_OTHER").unwrap_or_default();
        for (index, program) in others.into_iter().enumerate() {
            let name = if index == 0 { "netd_other".to_owned() } else { format!("netd_other_{}", index + 1) };
            field.peers.push(Peer { name, kind: Kind::Netd, program });
        }
        match (programs::compile("floor"), programs::compile("echo")) {
            // The relay's path; the echo server is beside it.
            (Ok(program), Ok(_)) => field.peers.push(Peer { name: "floor".to_owned(), kind: Kind::Floor, program }),
            (Err(why), _) | (_, Err(why)) => drop(field.left_out.insert("floor".to_owned(), why)),
        }
        for wanted in &PROGRAMS {
            match programs::find(wanted.name, wanted.variable, wanted.option) {
                Ok(programs) => programs.iter().for_each(|program| field.add(wanted, program)),
                Err(why) => drop(field.left_out.insert(wanted.name.to_owned(), why)),
            }
        }
        field.peers.retain(|peer| is_wanted(&peer.name));
        field
    }

    fn add(&mut self, wanted: &Wanted, program: &Program) {
        self.versions.push(format!("{} ({})", program.line, program.path.display()));
        for (kind, end) in wanted.ways {
            let name = format!("{}-{}{end}", wanted.name, program.version);
            self.peers.push(Peer { name, kind: *kind, program: program.path.clone() });
        }
    }

    /// Those that are measured with a tuning.
    pub(crate) fn of(&self, tuning: Tuning) -> Vec<Peer> {
        self.peers.iter().filter(|peer| peer.kind.is_measured(tuning)).cloned().collect()
    }
}

impl Kind {
    /// Whether it has to work.
    pub(crate) fn is_own(self) -> bool {
        [Self::Direct, Self::Netd, Self::NetdCopy, Self::NetdMany, Self::NetdBeside, Self::NetdTwo].contains(&self)
    }

    /// Each of those that splice is measured in bulk as a copying one as well.
    fn is_measured(self, tuning: Tuning) -> bool {
        match self {
            Self::Netd => true,
            Self::Direct => [Tuning::Small, Tuning::Bulk, Tuning::Mixed].contains(&tuning),
            Self::NetdCopy => tuning == Tuning::Bulk,
            Self::NetdMany => tuning == Tuning::Many,
            Self::NetdBeside | Self::NetdTwo => tuning == Tuning::Workers,
            Self::Floor => [Tuning::Small, Tuning::Bulk, Tuning::Echo].contains(&tuning),
            Self::Haproxy => [Tuning::Small, Tuning::Bulk, Tuning::Reload].contains(&tuning),
            Self::Nginx => [Tuning::Small, Tuning::Bulk, Tuning::Mixed, Tuning::Reload].contains(&tuning),
            Self::HaproxySplice | Self::SozuSplice => [Tuning::Bulk, Tuning::Mixed].contains(&tuning),
            Self::Sozu => [Tuning::Small, Tuning::Bulk].contains(&tuning),
            Self::Pingora | Self::Envoy => [Tuning::Small, Tuning::Bulk, Tuning::Mixed].contains(&tuning),
        }
    }
}

impl Peer {
    /// Opens the way, with a proxy that has done nothing yet.
    ///
    /// # Errors
    /// Why it does not start.
    pub(crate) fn open(&self, origin: SocketAddr, tuning: Tuning, cpus: &Cpus) -> Result<Way, String> {
        if self.kind == Kind::Direct {
            return Ok(Way { address: origin, proxy: None });
        }
        let own: &[usize] = match self.kind {
            Kind::NetdBeside => &[cpus.load],
            Kind::NetdTwo => &[cpus.proxy, cpus.load],
            _ => &[cpus.proxy],
        };
        let proxy = on(own, cpus.load, || launch::launch(self, origin, tuning))?;
        Ok(Way { address: proxy.address(), proxy: Some(proxy) })
    }

    /// Changes a time limit in the proxy's configuration, and has it read.
    pub(crate) fn reload(&self, proxy: &Proxy) -> io::Result<()> {
        launch::reload(self.kind, proxy)
    }
}
