//! What the load benchmarks compare: netd itself, and others beside it.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

pub(crate) use crate::proxy_process::Proxy;
use crate::proxy_process::start;

/// Modules of Debian's nginx that are files of their own.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

impl Proxy {
    /// netd as echo server.
    pub(crate) fn netd_echo() -> Self {
        netd("protocol = \"echo\"\n")
    }

    /// netd in front of `origin`; `accelerate` as in its configuration.
    pub(crate) fn netd_relay(origin: SocketAddr, accelerate: &str) -> Self {
        netd(&format!(
            "protocol = \"tcp\"\npool = \"back\"\naccelerate = \"{accelerate}\"\n\
             [[pool]]\nname = \"back\"\nendpoints = [\"{origin}\"]\n"
        ))
    }

    /// HAProxy in front of `origin`.
    ///
    /// # Errors
    /// Why there is none on this machine.
    pub(crate) fn haproxy(origin: SocketAddr) -> Result<Self, String> {
        let program = installed(&["haproxy", "/usr/sbin/haproxy"])?;
        start(|directory, address| {
            let file = directory.join("haproxy.cfg");
            fs::write(
                &file,
                format!(
                    "global\n  nbthread 1\n  maxconn 4096\n\
                     defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
                     frontend front\n  bind {address}\n  default_backend back\n\
                     backend back\n  server origin {origin}\n"
                ),
            )?;
            let mut command = Command::new(program);
            command.arg("-db").arg("-f").arg(file);
            Ok(command)
        })
    }

    /// nginx's stream module in front of `origin`. It passes half-closes on, as
    /// the others do (1.21.4 and later).
    ///
    /// # Errors
    /// Why there is none on this machine.
    pub(crate) fn nginx(origin: SocketAddr) -> Result<Self, String> {
        let program = installed(&["nginx", "/usr/sbin/nginx"])?;
        start(|directory, address| {
            let module = match Path::new(NGINX_STREAM).exists() {
                true => format!("load_module {NGINX_STREAM};\n"),
                false => String::new(),
            };
            let file = directory.join("nginx.conf");
            let pid = directory.join("nginx.pid");
            fs::write(
                &file,
                format!(
                    "{module}daemon off;\nmaster_process off;\npid {};\nerror_log stderr;\n\
                     events {{ worker_connections 4096; }}\n\
                     stream {{\n  proxy_timeout 1h;\n  proxy_half_close on;\n  server {{\n    listen {address};\n    proxy_pass {origin};\n  }}\n}}\n",
                    pid.display()
                ),
            )?;
            let mut command = Command::new(program);
            command.arg("-c").arg(file).arg("-p").arg(directory);
            Ok(command)
        })
    }
}

/// The first of these programs that can be run.
fn installed<'a>(programs: &[&'a str]) -> Result<&'a str, String> {
    let runs =
        |program: &&&str| Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    programs.iter().find(runs).copied().ok_or_else(|| "it is not installed".to_owned())
}

/// netd with one listener, of which `rest` is the end.
fn netd(rest: &str) -> Proxy {
    start(|directory, address| {
        let file = directory.join("netd.toml");
        fs::write(
            &file,
            format!(
                "workers.count = 1\nadmin.unix = \"off\"\nmetrics.listen = \"off\"\n\
                 log = {{ target = \"stderr\", level = \"warn\" }}\n\
                 [[listener]]\nname = \"front\"\naddress = \"{address}\"\n{rest}"
            ),
        )?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_netd"));
        command.arg("--config").arg(file);
        Ok(command)
    })
    .unwrap_or_else(|why| panic!("netd does not start: {why}"))
}
