//! Starts each peer with its configuration, a template in `peers/`.

use std::{
    fmt::Write as _,
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
    peer::{Kind, Peer, Tuning},
    programs,
    proxy_process::{Proxy, start},
};

/// Listeners of a netd that has many, one of which is used; and pools and
/// endpoints of each that it has besides.
const MANY: usize = 1_000;
const POOLS: usize = 100;
const ENDPOINTS: usize = 100;

/// Names of the files with the configurations of those that can be reloaded.
const NETD: &str = "netd.toml";
const HAPROXY: &str = "haproxy.cfg";
const NGINX: &str = "nginx.conf";

/// nginx's stream module where it is a file of its own.
const NGINX_STREAM: &str = "ngx_stream_module.so";

/// Starts the peer on the CPUs where this process is, and waits until it
/// accepts.
///
/// # Errors
/// Why it does not.
pub(crate) fn launch(peer: &Peer, origin: SocketAddr, tuning: Tuning) -> Result<Proxy, String> {
    let is_bulk = [Tuning::Bulk, Tuning::Mixed].contains(&tuning);
    let program = peer.program.as_path();
    match peer.kind {
        Kind::Direct | Kind::Netd if tuning == Tuning::Echo => netd_echo(program),
        Kind::Direct | Kind::Netd | Kind::NetdBeside => netd(program, origin, 1, "auto", ""),
        Kind::NetdCopy => netd(program, origin, 1, "off", ""),
        Kind::NetdTwo => netd(program, origin, 2, "auto", ""),
        Kind::NetdMany => netd(program, origin, 1, "auto", &many()),
        Kind::Floor if tuning == Tuning::Echo => plain(&program.with_file_name("echo"), &[]),
        Kind::Floor => plain(program, &[&origin.to_string()]),
        Kind::Haproxy => haproxy(program, origin, "", tuning),
        Kind::HaproxySplice => haproxy(program, origin, "option splice-request\n  option splice-response", tuning),
        Kind::Nginx => nginx(program, origin, tuning, if is_bulk { "64k" } else { "16k" }),
        Kind::Sozu | Kind::SozuSplice => sozu(program, origin, if is_bulk { "65536" } else { "16393" }),
        Kind::Pingora => plain(program, &[&origin.to_string(), if is_bulk { "65536" } else { "8192" }]),
        Kind::Envoy => envoy(program, origin),
    }
}

/// Changes a time limit in the proxy's configuration, and has it read.
pub(crate) fn reload(kind: Kind, proxy: &Proxy) -> io::Result<()> {
    let (file, signal) = match kind {
        Kind::Haproxy | Kind::HaproxySplice => (HAPROXY, Signal::SIGUSR2),
        Kind::Nginx => (NGINX, Signal::SIGHUP),
        _ => (NETD, Signal::SIGHUP),
    };
    let file = proxy.directory.path().join(file);
    let text = fs::read_to_string(&file)?;
    let (now, then) = if text.contains("1h") { ("1h", "2h") } else { ("2h", "1h") };
    fs::write(&file, text.replace(now, then))?;
    Ok(kill(Pid::from_raw(proxy.id() as i32), signal)?)
}

fn netd(program: &Path, origin: SocketAddr, workers: u8, accelerate: &str, more: &str) -> Result<Proxy, String> {
    start(|directory, address| {
        let text = filled(include_str!("peers/netd.toml"), address, origin)
            .replace("{workers}", &workers.to_string())
            .replace("{pin}", if workers > 1 { "true" } else { "false" })
            .replace("{accelerate}", accelerate);
        let file = written(directory, NETD, &(text + more))?;
        let mut command = Command::new(program);
        command.arg("--config").arg(file);
        Ok(command)
    })
}

/// Listeners and pools that nobody uses, on addresses of this machine that
/// nobody else has.
fn many() -> String {
    let mut text = String::new();
    for pool in 0..POOLS {
        let endpoints: Vec<_> = (0..ENDPOINTS).map(|n| format!("\"127.0.{}.1:{}\"", 100 + pool, 1_000 + n)).collect();
        let _ = writeln!(text, "[[pool]]\nname = \"pool{pool}\"\nendpoints = [{}]", endpoints.join(", "));
    }
    for listener in 0..MANY - 1 {
        let port = 10_000 + listener;
        let pool = listener % POOLS;
        let _ = writeln!(text, "[[listener]]\nname = \"listener{listener}\"\naddress = \"127.0.99.1:{port}\"");
        let _ = writeln!(text, "protocol = \"tcp\"\npool = \"pool{pool}\"");
    }
    text
}

fn netd_echo(program: &Path) -> Result<Proxy, String> {
    start(|directory, address| {
        let text = filled(include_str!("peers/netd_echo.toml"), address, address);
        let mut command = Command::new(program);
        command.arg("--config").arg(written(directory, NETD, &text)?);
        Ok(command)
    })
}

/// A program that takes its address and the rest as arguments.
fn plain(program: &Path, rest: &[&str]) -> Result<Proxy, String> {
    start(|_, address| {
        let mut command = Command::new(program);
        command.arg(address.to_string()).args(rest);
        Ok(command)
    })
}

fn haproxy(program: &Path, origin: SocketAddr, splice: &str, tuning: Tuning) -> Result<Proxy, String> {
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

fn nginx(program: &Path, origin: SocketAddr, tuning: Tuning, buffer: &str) -> Result<Proxy, String> {
    let master = if tuning == Tuning::Reload { "on" } else { "off" };
    let module = stream_module(program)?.map(|file| format!("load_module {};", file.display())).unwrap_or_default();
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

/// The module's file, where nginx was built to load it: beside the program, or
/// where that looks for modules.
fn stream_module(program: &Path) -> Result<Option<PathBuf>, String> {
    let text = programs::output(program, "-V")?;
    if !text.contains("--with-stream=dynamic") {
        return Ok(None);
    }
    let usual = text.split_whitespace().find_map(|word| word.strip_prefix("--modules-path=")).map(Path::new);
    let directories = program.parent().into_iter().chain(usual);
    let mut files = directories.map(|directory| directory.join(NGINX_STREAM));
    files.find(|file| file.exists()).map(Some).ok_or_else(|| format!("its {NGINX_STREAM} is not installed"))
}

fn sozu(program: &Path, origin: SocketAddr, buffer: &str) -> Result<Proxy, String> {
    start(|directory, address| {
        let text = filled(include_str!("peers/sozu.toml"), address, origin)
            .replace("{buffer}", buffer)
            .replace("{directory}", &directory.display().to_string());
        let mut command = Command::new(program);
        command.arg("start").arg("--config").arg(written(directory, "sozu.toml", &text)?);
        Ok(command)
    })
}

fn envoy(program: &Path, origin: SocketAddr) -> Result<Proxy, String> {
    start(|directory, address| {
        let text = filled(include_str!("peers/envoy.yaml"), address, origin)
            .replace("{host}", &address.ip().to_string())
            .replace("{port}", &address.port().to_string())
            .replace("{origin_host}", &origin.ip().to_string())
            .replace("{origin_port}", &origin.port().to_string());
        let mut command = Command::new(program);
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "--config-path"]);
        command.arg(written(directory, "envoy.yaml", &text)?);
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
