//! The ways to an origin: none between, netd, and the peers that are installed,
//! each configured by a file in `peers/`.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    pin::{Cpus, on},
    proxy_process::{NGINX_STREAM, Proxy, installed, start},
};

/// Names of the files with their configurations.
const NETD: &str = "netd.toml";
const HAPROXY: &str = "haproxy.cfg";
const NGINX: &str = "nginx.conf";

/// A way to an origin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Direct,
    Netd,
    NetdCopy,
    Haproxy,
    HaproxySplice,
    Nginx,
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
}

/// A way that is open. The proxy ends with it.
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    pub(crate) proxy: Option<Proxy>,
}

impl Peer {
    /// Those that are measured with a tuning. Each of those that splice is
    /// measured in bulk as a copying one as well.
    pub(crate) fn of(tuning: Tuning) -> &'static [Self] {
        match tuning {
            Tuning::Small => &[Self::Direct, Self::Netd, Self::Haproxy, Self::Nginx],
            Tuning::Reload => &[Self::Netd, Self::Haproxy, Self::Nginx],
            Tuning::Mixed => &[Self::Direct, Self::Netd, Self::HaproxySplice, Self::Nginx],
            Tuning::Bulk => {
                &[Self::Direct, Self::Netd, Self::NetdCopy, Self::HaproxySplice, Self::Haproxy, Self::Nginx]
            }
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Netd => "netd",
            Self::NetdCopy => "netd_copy",
            Self::Haproxy => "haproxy",
            Self::HaproxySplice => "haproxy_splice",
            Self::Nginx => "nginx",
        }
    }

    /// Opens the way, with a proxy that has done nothing yet.
    ///
    /// # Errors
    /// Why it is not there on this machine.
    pub(crate) fn open(self, origin: SocketAddr, tuning: Tuning, cpus: &Cpus) -> Result<Way, String> {
        if self == Self::Direct {
            return Ok(Way { address: origin, proxy: None });
        }
        let proxy = on(cpus.proxy, cpus.load, || match self {
            Self::Direct | Self::Netd => netd(origin, "auto"),
            Self::NetdCopy => netd(origin, "off"),
            Self::Haproxy => haproxy(origin, "", tuning),
            Self::HaproxySplice => haproxy(origin, "option splice-request\n  option splice-response", tuning),
            Self::Nginx => nginx(origin, tuning),
        })?;
        Ok(Way { address: proxy.address(), proxy: Some(proxy) })
    }

    /// Changes a time limit in the proxy's configuration, and has it read.
    pub(crate) fn reload(self, proxy: &Proxy) -> io::Result<()> {
        let (file, signal) = match self {
            Self::Direct | Self::Netd | Self::NetdCopy => (NETD, Signal::SIGHUP),
            Self::Haproxy | Self::HaproxySplice => (HAPROXY, Signal::SIGUSR2),
            Self::Nginx => (NGINX, Signal::SIGHUP),
        };
        let file = proxy.directory.path().join(file);
        let text = fs::read_to_string(&file)?;
        let (now, then) = if text.contains("1h") { ("1h", "2h") } else { ("2h", "1h") };
        fs::write(&file, text.replace(now, then))?;
        Ok(kill(Pid::from_raw(proxy.id() as i32), signal)?)
    }
}

/// What is compared, by its own words.
pub(crate) fn versions() -> Vec<String> {
    let first_line = |program: &str, option: &str| {
        let output = Command::new(program).arg(option).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).lines().next().map(str::to_owned)
    };
    let programs = [
        (env!("CARGO_BIN_EXE_netd"), "--version"),
        ("/usr/sbin/haproxy", "-v"),
        ("/usr/sbin/nginx", "-v"),
        ("uname", "-sr"),
    ];
    programs.iter().filter_map(|(program, option)| first_line(program, option)).collect()
}

fn netd(origin: SocketAddr, accelerate: &str) -> Result<Proxy, String> {
    start(|directory, address| {
        let text = filled(include_str!("peers/netd.toml"), address, origin).replace("{accelerate}", accelerate);
        let file = written(directory, NETD, &text)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_netd"));
        command.arg("--config").arg(file);
        Ok(command)
    })
}

fn haproxy(origin: SocketAddr, splice: &str, tuning: Tuning) -> Result<Proxy, String> {
    let program = installed(&["haproxy", "/usr/sbin/haproxy"])?;
    start(|directory, address| {
        let text = filled(include_str!("peers/haproxy.cfg"), address, origin)
            .replace("{splice}", splice)
            .replace("{directory}", &directory.display().to_string());
        let file = written(directory, HAPROXY, &text)?;
        let mut command = Command::new(program);
        if tuning == Tuning::Reload {
            command.arg("-W");
        }
        command.arg("-db").arg("-f").arg(file);
        Ok(command)
    })
}

fn nginx(origin: SocketAddr, tuning: Tuning) -> Result<Proxy, String> {
    let program = installed(&["nginx", "/usr/sbin/nginx"])?;
    let buffer = if [Tuning::Bulk, Tuning::Mixed].contains(&tuning) { "64k" } else { "16k" };
    let master = if tuning == Tuning::Reload { "on" } else { "off" };
    let module = match Path::new(NGINX_STREAM).exists() {
        true => format!("load_module {NGINX_STREAM};"),
        false => String::new(),
    };
    start(|directory, address| {
        let text = filled(include_str!("peers/nginx.conf"), address, origin)
            .replace("{module}", &module)
            .replace("{buffer}", buffer)
            .replace("{master}", master)
            .replace("{directory}", &directory.display().to_string());
        let file = written(directory, NGINX, &text)?;
        let mut command = Command::new(program);
        command.arg("-c").arg(file).arg("-p").arg(directory);
        Ok(command)
    })
}

/// A template without the comments at its head, which speak of its marks.
fn filled(template: &str, address: SocketAddr, origin: SocketAddr) -> String {
    let lines = template.lines().filter(|line| !line.starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n") + "\n";
    text.replace("{address}", &address.to_string()).replace("{origin}", &origin.to_string())
}

fn written(directory: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    let file = directory.join(name);
    fs::write(&file, text)?;
    Ok(file)
}
