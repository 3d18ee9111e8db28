//! What `netd` says on a terminal.

use std::fmt::Write;

use crate::{
    config::{Config, Protocol},
    daemon::{loader::Loader, start::Banner},
};

/// For `--check`.
pub(super) fn checked(loader: &Loader, config: &Config) -> String {
    let source = match loader.path() {
        Some(path) => path.display().to_string(),
        None if loader.is_embedded_default() => "the embedded default".to_owned(),
        None => "the command line".to_owned(),
    };
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let endpoints = config.pools.iter().map(|pool| pool.endpoints.len()).sum();
    format!(
        "{source} is valid: {}, {}, {}\n",
        count(config.listeners.len(), "listener"),
        count(config.pools.len(), "pool"),
        count(endpoints, "endpoint"),
    )
}

/// What a configuration without any listener lets one know.
pub(super) fn idle(config: &Config) -> Option<&'static str> {
    config.listeners.is_empty().then_some("the configuration has no [[listener]]: netd accepts no connection")
}

/// For a start with neither a file nor flags: what listens where, and what to
/// try next.
pub(super) fn embedded_default(banner: &Banner) -> String {
    let mut text = String::from("netd serves its embedded default (no configuration file, no --listen):\n");
    let mut line = |left: &str, right: &str| {
        let _ = writeln!(text, "  {left:<30} {right}");
    };
    for listener in &banner.config.listeners {
        let does = match &listener.protocol {
            Protocol::Tcp { pools, .. } => {
                let pools = pools.iter().filter_map(|share| banner.config.pool(&share.name));
                let endpoints: Vec<_> =
                    pools.flat_map(|pool| &pool.endpoints).map(|endpoint| endpoint.address.to_string()).collect();
                format!("{}: relays to {}", listener.name, endpoints.join(" and "))
            }
            protocol => format!("{}: {}", listener.name, protocol.as_str()),
        };
        line(&listener.address.to_string(), &does);
    }
    for admin in &banner.admin {
        line(admin, "admin API");
    }
    if let Some(metrics) = &banner.metrics {
        line(&format!("http://{metrics}/metrics"), "metrics");
    }
    text.push_str("Try, in another terminal:\n");
    let mut line = |command: &str, does: &str| {
        let _ = writeln!(text, "  {command:<40} {does}");
    };
    if let Some(listener) = banner.config.listeners.first() {
        line(&format!("curl telnet://{}", listener.address), "one connection through the front door");
    }
    line("netctl status", "the daemon at a glance");
    line("netctl pools", "who took the connections");
    if let Some(metrics) = &banner.metrics {
        line(&format!("curl http://{metrics}/metrics"), "what Prometheus sees");
    }
    line("netctl drain", "accept nothing new, finish what is open");
    line("netd --help", "serve your own upstreams");
    text
}
