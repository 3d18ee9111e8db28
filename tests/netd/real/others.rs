//! HAProxy and nginx, before netd and behind it.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use super::{TRUSTING, becomes, behind, free_port, telling};
use crate::support::{Client, Daemon, Origin, PATIENCE};

/// Somebody else's proxy, ended with the test.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs it with this configuration; `None`, and says so, if it is not there.
fn other(daemon: &Daemon, program: &str, config: &str, port: u16) -> Option<(Other, SocketAddr)> {
    let path = daemon.path(&format!("{program}.conf"));
    fs::write(&path, config).expect("its configuration");
    let mut command = Command::new(program);
    match program {
        "haproxy" => command.arg("-f").arg(&path),
        _ => command.arg("-c").arg(&path).arg("-p").arg(daemon.path("")).args(["-g", "daemon off;"]),
    };
    let Ok(child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        eprintln!("skipped: {program} is not installed");
        return None;
    };
    let (mut other, address) = (Other(child), SocketAddr::from(([127, 0, 0, 1], port)));
    becomes(|| Client::try_connect(address).is_ok() || other.0.try_wait().is_ok_and(|ended| ended.is_some()));
    if other.0.try_wait().is_ok_and(|ended| ended.is_some()) {
        eprintln!("skipped: {program} does not run here");
        return None;
    }
    Some((other, address))
}

fn haproxy(listen: &str, server: &str) -> String {
    format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         listen x\n bind {listen}\n server s {server}\n"
    )
}

fn nginx(listen: &str, server: &str, more: &str) -> String {
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = if fs::exists(module).unwrap_or(false) { format!("load_module {module};\n") } else { String::new() };
    format!(
        "{load}pid nginx.pid;\nerror_log stderr;\nevents {{}}\n\
         stream {{ server {{ listen {listen}; proxy_pass {server}; {more} }} }}\n"
    )
}

/// Through somebody else's proxy to netd: netd knows the client.
fn before_netd(program: &str, config: impl Fn(&str, &str) -> String) {
    let origin = Origin::echoing();
    let daemon = behind(TRUSTING, "", origin.address);
    let port = free_port();
    let config = config(&format!("127.0.0.1:{port}"), &daemon.address("front").to_string());
    let Some((_other, address)) = other(&daemon, program, &config, port) else { return };
    let mut client = Client::connect(address);
    client.echo(b"through both");
    let source = client.local().to_string();
    becomes(|| daemon.connections().iter().any(|each| each["source"] == source.as_str()));
}

#[test]
fn haproxy_says_who_the_client_is() {
    before_netd("haproxy", |listen, server| haproxy(listen, &format!("{server} send-proxy")));
    before_netd("haproxy", |listen, server| haproxy(listen, &format!("{server} send-proxy-v2")));
    let options = "send-proxy-v2 proxy-v2-options unique-id,crc32c";
    before_netd("haproxy", |listen, server| {
        haproxy(&format!("{listen}\n unique-id-format %[uuid()]"), &format!("{server} {options}"))
    });
}

#[test]
fn nginx_says_who_the_client_is() {
    before_netd("nginx", |listen, server| nginx(listen, server, "proxy_protocol on;"));
}

/// Through netd to somebody else's proxy, which passes on what it was told.
fn behind_netd(program: &str, send: &str, config: impl Fn(&str, &str) -> String) {
    let (tell, told) = mpsc::channel();
    let origin = telling(tell);
    let port = free_port();
    let daemon = behind("", send, SocketAddr::from(([127, 0, 0, 1], port)));
    let config = config(&format!("127.0.0.1:{port}"), &origin.address.to_string());
    let Some((_other, _)) = other(&daemon, program, &config, port) else { return };
    let mut client = daemon.connect("front");
    client.send(b"hello");
    let wanted =
        format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", client.local().port(), daemon.address("front").port());
    // The other's own readiness was looked for by connections without a header.
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains(&wanted) {
        got = told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no `{wanted}`, but {}", got.escape_ascii()));
    }
}

#[test]
fn haproxy_takes_what_netd_says() {
    let config =
        |listen: &str, server: &str| haproxy(&format!("{listen} accept-proxy"), &format!("{server} send-proxy"));
    behind_netd("haproxy", "send_proxy = \"v1\"", config);
    behind_netd("haproxy", "send_proxy = \"v2\"\nsend_proxy_tlvs = [\"unique-id\", \"crc32c\"]", config);
}

#[test]
fn nginx_takes_what_netd_says() {
    // It tells the port and address of the header only with the realip module.
    let realip = "set_real_ip_from 127.0.0.0/8; proxy_protocol on;";
    let config = |listen: &str, server: &str| nginx(&format!("{listen} proxy_protocol"), server, realip);
    let (tell, told) = mpsc::channel();
    for send in ["send_proxy = \"v1\"", "send_proxy = \"v2\"\nsend_proxy_tlvs = [\"crc32c\"]"] {
        let origin = telling(tell.clone());
        let port = free_port();
        let daemon = behind("", send, SocketAddr::from(([127, 0, 0, 1], port)));
        let text = config(&format!("127.0.0.1:{port}"), &origin.address.to_string());
        let Some((_other, _)) = other(&daemon, "nginx", &text, port) else { return };
        let mut client = daemon.connect("front");
        client.send(b"hello");
        let source = format!(" {} ", client.local().port());
        let mut got = Vec::new();
        while !String::from_utf8_lossy(&got).contains(&source) {
            got = told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no `{source}`, but {}", got.escape_ascii()));
        }
    }
}
