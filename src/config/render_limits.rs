//! Everything that limits, as TOML. Of listeners and pools, what is at its
//! default is left out: most have none of it.

use crate::config::{
    format_duration, format_size,
    limits::{
        AccessList, Jitter, Limits, ListenerLimits, MemoryLimit, PoolLimits, Refusal, Refuse, SourcePrefix, SourceTable,
    },
    render::{Writer, quoted},
};

impl Writer {
    pub(super) fn limits(&mut self, limits: &Limits) {
        match limits.max_connections {
            Some(most) => self.pair("max_connections", most),
            None => self.text("max_connections", "off"),
        }
        self.text("overload", limits.overload.as_str());
        self.text("memory", &memory(limits.memory));
    }

    pub(super) fn listener_limits(&mut self, limits: &ListenerLimits) {
        self.some("max_connections", limits.max_connections);
        self.some("max_connections_per_source", limits.max_connections_per_source);
        for (key, rate) in [("rate", limits.rate), ("rate_per_source", limits.rate_per_source)] {
            self.some(key, rate.map(|rate| quoted(&rate.to_string())));
        }
        let usual = SourcePrefix::default();
        self.some("source_prefix_v4", Some(limits.source.v4).filter(|&bits| bits != usual.v4));
        self.some("source_prefix_v6", Some(limits.source.v6).filter(|&bits| bits != usual.v6));
        let table = Some(limits.source_table).filter(|&table| table != SourceTable::default());
        self.some("source_table", table.map(|table| table.0));
        for (key, list) in [("allow", &limits.allow), ("deny", &limits.deny)] {
            self.access(key, list.as_ref());
        }
        for (key, timeout) in [
            ("first_byte_timeout", limits.first_byte_timeout),
            ("half_closed_timeout", limits.half_closed_timeout),
            ("max_lifetime", limits.max_lifetime),
        ] {
            self.some(key, timeout.map(|timeout| quoted(&format_duration(timeout))));
        }
        let jitter = Some(limits.lifetime_jitter).filter(|&jitter| jitter != Jitter::default());
        self.some("lifetime_jitter", jitter.map(|jitter| jitter.0));
        if limits.refuse != Refuse::default() {
            let Refuse { denied, full, overload, rate } = &limits.refuse;
            let by = [("denied", denied), ("full", full), ("overload", overload), ("rate", rate)];
            let by: Vec<String> = by.iter().map(|(key, each)| format!("{key} = {}", refusal(each))).collect();
            self.pair("refuse", format!("{{ {} }}", by.join(", ")));
        }
    }

    pub(super) fn pool_limits(&mut self, limits: &PoolLimits) {
        self.some("max_connections", limits.max_connections);
        self.some(
            "queue",
            limits.queue.map(|queue| {
                format!("{{ size = {}, timeout = {} }}", queue.size, quoted(&format_duration(queue.timeout)))
            }),
        );
        let budget = limits.retry_budget;
        self.some(
            "retry_budget",
            budget.map(|budget| format!("{{ percent = {}, reserve = {} }}", budget.percent, budget.reserve)),
        );
    }

    fn access(&mut self, key: &str, list: Option<&AccessList>) {
        let Some(list) = list else { return };
        if !list.listed.is_empty() || list.file.is_none() {
            let listed: Vec<String> = list.listed.iter().map(|network| quoted(&network.to_string())).collect();
            self.pair(key, format!("[{}]", listed.join(", ")));
        }
        self.some(&format!("{key}_file"), list.file.as_ref().map(|path| quoted(&path.to_string_lossy())));
    }

    fn some(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.pair(key, value);
        }
    }
}

/// The words of the file.
pub(super) fn memory(limit: MemoryLimit) -> String {
    match limit {
        MemoryLimit::Auto => "auto".to_owned(),
        MemoryLimit::Off => "off".to_owned(),
        MemoryLimit::Bytes(bytes) => format_size(bytes),
    }
}

fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Reset => "\"reset\"".to_owned(),
        Refusal::Close => "\"close\"".to_owned(),
        Refusal::Text(text) => format!("{{ text = {} }}", quoted(&String::from_utf8_lossy(text))),
    }
}
