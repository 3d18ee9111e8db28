//! A [`Config`] as TOML that reads back the same.

use std::fmt::Write as _;

use crate::config::{
    Address, AdminSocket, Config, HealthCheck, Listener, LogFormat, LogTarget, Outlier, Pool, PoolHealth, PoolShare,
    Protocol, format_duration, format_size,
    health::Setting,
    proxy::{self, Line},
    substitute::escape,
    tcp::{self, Side},
};

impl Config {
    /// The effective configuration, defaults filled in, as TOML with notes.
    /// Reads back as an equal configuration; text and paths that are not UTF-8
    /// (which no file can hold) are shown with replacement characters.
    pub fn to_toml(&self) -> String {
        let mut out = Writer(String::new());
        out.settings(self);
        for listener in &self.listeners {
            out.listener(listener);
        }
        for pool in &self.pools {
            out.pool(pool);
        }
        out.0
    }
}

pub(super) struct Writer(String);

impl Writer {
    fn settings(&mut self, config: &Config) {
        self.0.push_str("# The threads that serve connections.\n[workers]\n");
        match config.workers.count {
            Some(count) => self.pair("count", count),
            None => self.pair("count", "\"auto\""),
        }
        self.pair("pin", config.workers.pin);
        self.text("buffer_size", &format_size(config.workers.buffer_size as u64));
        self.text("busy_poll", &config.workers.busy_poll.map_or_else(|| "off".to_owned(), format_duration));
        self.text("rebalance", config.workers.rebalance.as_str());

        let process = &config.process;
        self.section("The daemon as a Unix process.", "process");
        self.maybe("user", process.user.as_deref());
        self.maybe("group", process.group.as_deref());
        self.maybe("pid_file", process.pid_file.as_ref().map(|path| path.to_string_lossy()).as_deref());
        self.text("umask", &format!("0o{:03o}", process.umask));
        self.text("working_directory", &process.working_directory.to_string_lossy());
        self.pair("core_dumps", process.core_dumps);

        let admin = &config.admin;
        self.section("Where the admin API is served.", "admin");
        match &admin.unix {
            AdminSocket::Default => self.text("unix", "default"),
            AdminSocket::Path(path) => self.text("unix", &path.to_string_lossy()),
            AdminSocket::Off => self.text("unix", "off"),
        }
        self.maybe("group", admin.group.as_deref());
        self.text("tcp", &admin.tcp.map_or_else(|| "off".to_owned(), |address| address.to_string()));

        self.section("Where /metrics, /healthz and /readyz are served.", "metrics");
        self.text("listen", &config.metrics.listen.map_or_else(|| "off".to_owned(), |address| address.to_string()));

        self.section("Where the log goes.", "log");
        self.text("target", &log_target(&config.log.target));
        self.text("level", config.log.level.as_str());
        self.text("format", log_format(config.log.format));

        let access = &config.access_log;
        self.section("One line for each connection that ends.", "access_log");
        self.text("target", &access.target.to_string());
        self.pair("sample", access.sample);
        self.text("only", access.only.as_str());
        self.text("format", "json");

        self.section("How long a drain may take.", "drain");
        self.text("timeout", &format_duration(config.drain.timeout));
        self.text("lame_duck", &format_duration(config.drain.lame_duck));
        self.text("gradual", &config.drain.gradual.map_or_else(|| "off".to_owned(), format_duration));

        self.section("Upgrades of the binary.", "upgrade");
        self.text("rollback_window", &format_duration(config.upgrade.rollback_window));

        self.section("What a reload does with connections of what is gone.", "reload");
        let after = config.reload.close_removed_after;
        self.text("close_removed_after", &after.map_or_else(|| "off".to_owned(), format_duration));

        self.section("What the whole process takes.", "limits");
        self.limits(&config.limits);
    }

    fn listener(&mut self, listener: &Listener) {
        self.0.push_str("\n[[listener]]\n");
        self.text("name", &listener.name);
        self.text("address", &listener.address.to_string());
        self.text("protocol", listener.protocol.as_str());
        match &listener.protocol {
            Protocol::Tcp { pools, hash } => {
                match pools.as_slice() {
                    [only] if only.weight == 1 => self.text("pool", &only.name),
                    pools => self.shares(pools),
                }
                self.text("hash", hash.as_str());
                self.text("accelerate", listener.accelerate.as_str());
            }
            Protocol::Respond { text } => self.text("text", &String::from_utf8_lossy(text)),
            Protocol::Echo | Protocol::Discard => {}
        }
        self.pair("backlog", listener.backlog);
        match &listener.address {
            Address::Inet(address) if address.is_ipv6() => self.pair("v6only", listener.v6only),
            Address::Inet(_) => {}
            Address::Unix(_) => self.text("mode", &format!("0o{:03o}", listener.mode)),
        }
        self.text("idle_timeout", &listener.idle_timeout.map_or_else(|| "off".to_owned(), format_duration));
        self.listener_limits(&listener.limits);
        self.pair("access_log", listener.access_log);
        let unix = matches!(listener.address, Address::Unix(_));
        self.lines(&proxy::listener_lines(&listener.proxy, unix));
        self.table("listener.tcp", &tcp::lines(&listener.tcp, Side::Listener));
    }

    /// A table, if it has lines; nothing of its owner may follow.
    fn table(&mut self, name: &str, lines: &[Line]) {
        if !lines.is_empty() {
            let _ = writeln!(self.0, "[{name}]");
            self.lines(lines);
        }
    }

    fn lines(&mut self, lines: &[Line]) {
        lines.iter().for_each(|(key, value)| self.pair(key, value));
    }

    fn pool(&mut self, pool: &Pool) {
        self.0.push_str("\n[[pool]]\n");
        self.text("name", &pool.name);
        self.0.push_str("endpoints = [\n");
        for endpoint in &pool.endpoints {
            let address = quoted(&endpoint.address.to_string());
            let _ = write!(self.0, "  {{ address = {address}, weight = {}", endpoint.weight);
            if endpoint.backup {
                self.0.push_str(", backup = true");
            }
            if let Some(most) = endpoint.max_connections {
                let _ = write!(self.0, ", max_connections = {most}");
            }
            self.0.push_str(" },\n");
        }
        self.0.push_str("]\n");
        self.text("policy", pool.policy.as_str());
        if pool.policy.can_start_slowly() {
            self.text("slow_start", &pool.slow_start.map_or_else(|| "off".to_owned(), format_duration));
        }
        match pool.endpoint_max_connections {
            Some(most) => self.pair("endpoint_max_connections", most),
            None => self.0.push_str("# endpoint_max_connections is not set\n"),
        }
        self.text("connect_timeout", &format_duration(pool.connect_timeout));
        self.pair("retries", pool.retries);
        self.pool_limits(&pool.limits);
        self.lines(&proxy::pool_lines(&pool.send_proxy, pool.source));
        self.health(&pool.health);
        self.table("pool.tcp", &tcp::lines(&pool.tcp, Side::Pool));
    }

    fn health(&mut self, health: &PoolHealth) {
        self.pair("panic_threshold", health.panic_threshold);
        for (name, settings) in [
            ("health", health.check.as_deref().map(HealthCheck::settings)),
            ("outlier", health.outlier.as_ref().map(Outlier::settings)),
        ] {
            let Some(settings) = settings else { continue };
            let _ = writeln!(self.0, "[pool.{name}]");
            for (key, setting) in settings {
                match setting {
                    Setting::Number(number) => self.pair(key, number),
                    Setting::Text(text) => self.text(key, &text),
                }
            }
        }
    }

    fn shares(&mut self, pools: &[PoolShare]) {
        self.0.push_str("pools = [\n");
        for PoolShare { name, weight } in pools {
            let _ = writeln!(self.0, "  {{ name = {}, weight = {weight} }},", quoted(name));
        }
        self.0.push_str("]\n");
    }

    fn section(&mut self, note: &str, name: &str) {
        let _ = writeln!(self.0, "\n# {note}\n[{name}]");
    }

    pub(super) fn pair(&mut self, key: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{key} = {value}");
    }

    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.pair(key, quoted(text));
    }

    pub(super) fn maybe(&mut self, key: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(key, text),
            None => {
                let _ = writeln!(self.0, "# {key} is not set");
            }
        }
    }
}

/// `auto`, `stderr`, `file:/PATH` ...: the words of the file.
pub(super) fn log_target(target: &LogTarget) -> String {
    match target {
        LogTarget::Auto => "auto".to_owned(),
        LogTarget::Stderr => "stderr".to_owned(),
        LogTarget::Journal => "journal".to_owned(),
        LogTarget::Syslog => "syslog".to_owned(),
        LogTarget::File(path) => format!("file:{}", path.to_string_lossy()),
    }
}

/// `text` or `json`.
pub(super) fn log_format(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    }
}

/// A TOML basic string, safe from substitution.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in escape(text).chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::config::{Config, arbitrary, parse};

    #[test]
    fn the_embedded_default_reads_back() {
        let config = Config::embedded_default();
        let toml = config.to_toml();
        assert_eq!(parse("x", &toml, &|_| None).map_err(|errors| errors.to_string()), Ok(config));
        assert!(toml.starts_with("# The threads that serve connections.\n[workers]\ncount = \"auto\"\npin = false\n"));
        assert!(toml.contains("text = \"Hello from daemon\\n\"\n"), "{toml}");
    }

    proptest! {
        #[test]
        fn any_valid_configuration_reads_back(config in arbitrary::config()) {
            let toml = config.to_toml();
            let again = parse("x", &toml, &|_| Some("injected".to_owned())).map_err(|errors| format!("{errors}\n{toml}"));
            prop_assert_eq!(again, Ok(config));
        }
    }
}
