//! What is different between two configurations, object by object.

use std::{
    collections::{HashMap, HashSet},
    fmt::Display,
    sync::Arc,
};

use crate::config::{
    Address, AdminSocket, Config, Endpoint, HealthCheck, Listener, Outlier, Pool, PoolHealth, PoolShare, Protocol,
    diff_limits, format_duration, format_shares, format_size,
    health::Setting,
    proxy::{self, Line},
    render::{log_format, log_target},
    tcp::{self, Side},
};

/// What is different. Listeners, pools and endpoints are known by name or
/// address; their order does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// In the order of the new configuration, removed ones last.
    pub listeners: Vec<ListenerChange>,
    /// In the order of the new configuration, removed ones last.
    pub pools: Vec<PoolChange>,
    /// One for each section that changed.
    pub settings: Vec<SettingChange>,
}

/// One listener's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerChange {
    /// New.
    Added(Arc<Listener>),
    /// Gone.
    Removed(Arc<Listener>),
    /// Other settings.
    Changed {
        /// Before.
        old: Arc<Listener>,
        /// After.
        new: Arc<Listener>,
        /// Address, v6only, mode or options of TCP that take other sockets
        /// changed: the sockets must be made anew.
        rebind: bool,
        /// One line a setting: `idle_timeout: 1h -> 30s`.
        details: Vec<String>,
    },
}

/// One pool's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolChange {
    /// New.
    Added(Arc<Pool>),
    /// Gone.
    Removed(Arc<Pool>),
    /// Other settings or endpoints.
    Changed {
        /// Before.
        old: Arc<Pool>,
        /// After.
        new: Arc<Pool>,
        /// One line a setting of the pool itself: `retries: 2 -> 3`.
        details: Vec<String>,
        /// In the order of the new pool, removed ones last.
        endpoints: Vec<EndpointChange>,
    },
}

/// One endpoint's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointChange {
    /// Which.
    pub address: Address,
    /// How.
    pub kind: EndpointChangeKind,
}

/// How an endpoint changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointChangeKind {
    /// New.
    Added,
    /// Gone.
    Removed,
    /// Other settings.
    Changed {
        /// The weight that it has then.
        to: u16,
        /// One line a setting: `weight: 1 -> 2`.
        details: Vec<String>,
    },
}

/// One section's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingChange {
    /// `workers`, `process`, `admin`, `metrics`, `log`, `access_log`, `drain`, `reload`, `limits` or `upgrade`.
    pub section: &'static str,
    /// One line a setting: `level: info -> debug`.
    pub details: Vec<String>,
    /// A reload can do it; else it takes a restart.
    pub reloadable: bool,
}

impl Difference {
    /// The configurations mean the same.
    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.pools.is_empty() && self.settings.is_empty()
    }
}

/// What is different in `new`.
pub fn diff(old: &Config, new: &Config) -> Difference {
    Difference { listeners: listeners(old, new), pools: pools(old, new), settings: settings(old, new) }
}

/// Gathers `key: old -> new` lines.
#[derive(Default)]
pub(super) struct Details(pub(super) Vec<String>);

impl Details {
    pub(super) fn compare<T: PartialEq, D: Display>(&mut self, key: &str, old: &T, new: &T, show: impl Fn(&T) -> D) {
        if old != new {
            self.0.push(format!("{key}: {} -> {}", show(old), show(new)));
        }
    }

    /// Of settings that are told line by line.
    fn lines(&mut self, prefix: &str, old: &[Line], new: &[Line]) {
        let each = proxy::differences(old, new).into_iter();
        self.0.extend(each.map(|(key, old, new)| format!("{prefix}{key}: {old} -> {new}")));
    }
}

fn listeners(old: &Config, new: &Config) -> Vec<ListenerChange> {
    let before: HashMap<&str, &Arc<Listener>> = old.listeners.iter().map(|l| (l.name.as_str(), l)).collect();
    let after: HashMap<&str, &Arc<Listener>> = new.listeners.iter().map(|l| (l.name.as_str(), l)).collect();
    let mut changes: Vec<ListenerChange> = new
        .listeners
        .iter()
        .filter_map(|listener| match before.get(listener.name.as_str()) {
            Some(old) => changed_listener(old, listener),
            None => Some(ListenerChange::Added(Arc::clone(listener))),
        })
        .collect();
    let gone = old.listeners.iter().filter(|listener| !after.contains_key(listener.name.as_str()));
    changes.extend(gone.map(|listener| ListenerChange::Removed(Arc::clone(listener))));
    changes
}

fn changed_listener(old: &Arc<Listener>, new: &Arc<Listener>) -> Option<ListenerChange> {
    let mut details = Details::default();
    details.compare("address", &old.address, &new.address, Address::to_string);
    details.compare("v6only", &old.v6only, &new.v6only, |flag| *flag);
    details.compare("mode", &old.mode, &new.mode, |mode| format!("0o{mode:03o}"));
    let rebind = !details.0.is_empty() || new.tcp.needs_sockets(&old.tcp);
    details.compare("backlog", &old.backlog, &new.backlog, |n| *n);
    details.compare("protocol", &old.protocol.as_str(), &new.protocol.as_str(), |word| *word);
    match (&old.protocol, &new.protocol) {
        (Protocol::Respond { text: old }, Protocol::Respond { text: new }) => {
            details.compare("text", old, new, |text| excerpt(text));
        }
        (old, new) => details.compare("pool", &old.pools(), &new.pools(), |pools| shares(pools)),
    }
    details.compare("hash", &old.protocol.hash(), &new.protocol.hash(), |key| key.as_str());
    details.compare("accelerate", &old.accelerate, &new.accelerate, |word| word.as_str());
    details.compare("access_log", &old.access_log, &new.access_log, |flag| *flag);
    details.compare("idle_timeout", &old.idle_timeout, &new.idle_timeout, |timeout| {
        timeout.map_or_else(|| "off".to_owned(), format_duration)
    });
    diff_limits::listener(&mut details, &old.limits, &new.limits);
    let proxy =
        |listener: &Listener| proxy::listener_lines(&listener.proxy, matches!(listener.address, Address::Unix(_)));
    details.lines("", &proxy(old), &proxy(new));
    details.lines("tcp.", &tcp::lines(&old.tcp, Side::Listener), &tcp::lines(&new.tcp, Side::Listener));
    let details = details.0;
    (!details.is_empty()).then(|| ListenerChange::Changed {
        old: Arc::clone(old),
        new: Arc::clone(new),
        rebind,
        details,
    })
}

/// `app`, or `app=95 canary=5`.
fn shares(pools: &[PoolShare]) -> String {
    match pools {
        [] => NOT_SET.to_owned(),
        [only] if only.weight == 1 => only.name.clone(),
        pools => format_shares(pools),
    }
}

fn pools(old: &Config, new: &Config) -> Vec<PoolChange> {
    let before: HashMap<&str, &Arc<Pool>> = old.pools.iter().map(|pool| (pool.name.as_str(), pool)).collect();
    let after: HashMap<&str, &Arc<Pool>> = new.pools.iter().map(|pool| (pool.name.as_str(), pool)).collect();
    let mut changes: Vec<PoolChange> = new
        .pools
        .iter()
        .filter_map(|pool| match before.get(pool.name.as_str()) {
            Some(old) => changed_pool(old, pool),
            None => Some(PoolChange::Added(Arc::clone(pool))),
        })
        .collect();
    let gone = old.pools.iter().filter(|pool| !after.contains_key(pool.name.as_str()));
    changes.extend(gone.map(|pool| PoolChange::Removed(Arc::clone(pool))));
    changes
}

fn changed_pool(old: &Arc<Pool>, new: &Arc<Pool>) -> Option<PoolChange> {
    let mut details = Details::default();
    details.compare("policy", &old.policy, &new.policy, |policy| policy.as_str());
    details.compare("slow_start", &old.slow_start, &new.slow_start, |time| {
        time.map_or_else(|| "off".to_owned(), format_duration)
    });
    let (old_most, new_most) = (&old.endpoint_max_connections, &new.endpoint_max_connections);
    details.compare("endpoint_max_connections", old_most, new_most, |most| or_none(*most));
    details.compare("connect_timeout", &old.connect_timeout, &new.connect_timeout, |timeout| format_duration(*timeout));
    details.compare("retries", &old.retries, &new.retries, |n| *n);
    diff_limits::pool(&mut details, &old.limits, &new.limits);
    health(&mut details, &old.health, &new.health);
    let proxy = |pool: &Pool| proxy::pool_lines(&pool.send_proxy, pool.source);
    details.lines("", &proxy(old), &proxy(new));
    details.lines("tcp.", &tcp::lines(&old.tcp, Side::Pool), &tcp::lines(&new.tcp, Side::Pool));
    let (details, endpoints) = (details.0, endpoints(&old.endpoints, &new.endpoints));
    let same = details.is_empty() && endpoints.is_empty();
    (!same).then(|| PoolChange::Changed { old: Arc::clone(old), new: Arc::clone(new), details, endpoints })
}

fn health(details: &mut Details, old: &PoolHealth, new: &PoolHealth) {
    details.compare("panic_threshold", &old.panic_threshold, &new.panic_threshold, |n| *n);
    let checks = [old, new].map(|each| each.check.as_deref().map(HealthCheck::settings));
    let outliers = [old, new].map(|each| each.outlier.as_ref().map(Outlier::settings));
    for (name, [old, new]) in [("health", checks), ("outlier", outliers)] {
        let (old, new) = match (old, new) {
            (Some(old), Some(new)) => (old, new),
            (old, new) => {
                details.compare(name, &old.is_some(), &new.is_some(), |is| if *is { "on" } else { "off" });
                continue;
            }
        };
        let value = |settings: &[(&str, Setting)], key: &str| {
            settings.iter().find(|(each, _)| *each == key).map_or_else(|| NOT_SET.to_owned(), |(_, is)| is.to_string())
        };
        let gone = old.iter().filter(|(key, _)| new.iter().all(|(each, _)| each != key));
        for (key, _) in new.iter().chain(gone) {
            details.compare(&format!("{name}.{key}"), &value(&old, key), &value(&new, key), Clone::clone);
        }
    }
}

fn endpoints(old: &[Endpoint], new: &[Endpoint]) -> Vec<EndpointChange> {
    let before: HashMap<&Address, &Endpoint> = old.iter().map(|endpoint| (&endpoint.address, endpoint)).collect();
    let after: HashSet<&Address> = new.iter().map(|endpoint| &endpoint.address).collect();
    let change = |endpoint: &Endpoint, kind| EndpointChange { address: endpoint.address.clone(), kind };
    let mut changes: Vec<EndpointChange> = new
        .iter()
        .filter_map(|endpoint| match before.get(&endpoint.address) {
            None => Some(change(endpoint, EndpointChangeKind::Added)),
            Some(old) if *old != endpoint => {
                let details = endpoint_details(old, endpoint);
                Some(change(endpoint, EndpointChangeKind::Changed { to: endpoint.weight, details }))
            }
            Some(_) => None,
        })
        .collect();
    let gone = old.iter().filter(|endpoint| !after.contains(&endpoint.address));
    changes.extend(gone.map(|endpoint| change(endpoint, EndpointChangeKind::Removed)));
    changes
}

fn endpoint_details(old: &Endpoint, new: &Endpoint) -> Vec<String> {
    let mut details = Details::default();
    details.compare("weight", &old.weight, &new.weight, |weight| *weight);
    details.compare("backup", &old.backup, &new.backup, |flag| *flag);
    details.compare("max_connections", &old.max_connections, &new.max_connections, |most| or_none(*most));
    details.0
}

fn settings(old: &Config, new: &Config) -> Vec<SettingChange> {
    let changes = [
        ("workers", workers(old, new), true),
        ("workers", fixed_workers(old, new), false),
        ("process", process(old, new), false),
        ("admin", admin(old, new), false),
        ("metrics", metrics(old, new), false),
        ("log", log(old, new), true),
        ("access_log", access_log(old, new), true),
        ("drain", drain(old, new), true),
        ("upgrade", upgrade(old, new), true),
        ("reload", reload(old, new), true),
        ("limits", diff_limits::limits(old, new), true),
    ];
    changes
        .into_iter()
        .filter(|(_, details, _)| !details.0.is_empty())
        .map(|(section, details, reloadable)| SettingChange { section, details: details.0, reloadable })
        .collect()
}

fn workers(old: &Config, new: &Config) -> Details {
    let (old, new) = (&old.workers, &new.workers);
    let mut details = Details::default();
    details
        .compare("count", &old.count, &new.count, |count| count.map_or_else(|| "auto".to_owned(), |n| n.to_string()));
    details.compare("rebalance", &old.rebalance, &new.rebalance, |word| word.as_str());
    details
}

fn fixed_workers(old: &Config, new: &Config) -> Details {
    let (old, new) = (&old.workers, &new.workers);
    let mut details = Details::default();
    details.compare("pin", &old.pin, &new.pin, |flag| *flag);
    details.compare("buffer_size", &old.buffer_size, &new.buffer_size, |size| format_size(*size as u64));
    details.compare("busy_poll", &old.busy_poll, &new.busy_poll, |look| {
        look.map_or_else(|| "off".to_owned(), format_duration)
    });
    details
}

fn process(old: &Config, new: &Config) -> Details {
    let (old, new) = (&old.process, &new.process);
    let mut details = Details::default();
    details.compare("user", &old.user, &new.user, or_not_set);
    details.compare("group", &old.group, &new.group, or_not_set);
    details.compare("pid_file", &old.pid_file, &new.pid_file, |path| {
        path.as_ref().map_or_else(|| NOT_SET.to_owned(), |path| path.display().to_string())
    });
    details.compare("umask", &old.umask, &new.umask, |mask| format!("0o{mask:03o}"));
    details.compare("working_directory", &old.working_directory, &new.working_directory, |path| {
        path.display().to_string()
    });
    details.compare("core_dumps", &old.core_dumps, &new.core_dumps, |flag| *flag);
    details
}

fn admin(old: &Config, new: &Config) -> Details {
    let (old, new) = (&old.admin, &new.admin);
    let mut details = Details::default();
    details.compare("unix", &old.unix, &new.unix, |socket| match socket {
        AdminSocket::Default => "default".to_owned(),
        AdminSocket::Path(path) => path.display().to_string(),
        AdminSocket::Off => "off".to_owned(),
    });
    details.compare("group", &old.group, &new.group, or_not_set);
    details.compare("tcp", &old.tcp, &new.tcp, |address| or_off(address.as_ref()));
    details
}

fn metrics(old: &Config, new: &Config) -> Details {
    let mut details = Details::default();
    details.compare("listen", &old.metrics.listen, &new.metrics.listen, |address| or_off(address.as_ref()));
    details
}

fn log(old: &Config, new: &Config) -> Details {
    let (old, new) = (&old.log, &new.log);
    let mut details = Details::default();
    details.compare("target", &old.target, &new.target, log_target);
    details.compare("level", &old.level, &new.level, |level| level.as_str());
    details.compare("format", &old.format, &new.format, |format| log_format(*format));
    details
}

fn access_log(old: &Config, new: &Config) -> Details {
    let (old, new) = (&old.access_log, &new.access_log);
    let mut details = Details::default();
    details.compare("target", &old.target, &new.target, ToString::to_string);
    details.compare("sample", &old.sample, &new.sample, |share| *share);
    details.compare("only", &old.only, &new.only, |word| word.as_str());
    details
}

fn drain(old: &Config, new: &Config) -> Details {
    let mut details = Details::default();
    details.compare("timeout", &old.drain.timeout, &new.drain.timeout, |timeout| format_duration(*timeout));
    details.compare("lame_duck", &old.drain.lame_duck, &new.drain.lame_duck, |time| format_duration(*time));
    details.compare("gradual", &old.drain.gradual, &new.drain.gradual, |window| {
        window.map_or_else(|| "off".to_owned(), format_duration)
    });
    details
}

fn upgrade(old: &Config, new: &Config) -> Details {
    let mut details = Details::default();
    let (old, new) = (&old.upgrade.rollback_window, &new.upgrade.rollback_window);
    details.compare("rollback_window", old, new, |window| format_duration(*window));
    details
}

fn reload(old: &Config, new: &Config) -> Details {
    let (old, new) = (&old.reload, &new.reload);
    let mut details = Details::default();
    details.compare("close_removed_after", &old.close_removed_after, &new.close_removed_after, |after| {
        after.map_or_else(|| "off".to_owned(), format_duration)
    });
    details
}

pub(super) const NOT_SET: &str = "(not set)";

fn or_not_set(text: &Option<String>) -> String {
    text.clone().unwrap_or_else(|| NOT_SET.to_owned())
}

fn or_none(most: Option<u32>) -> String {
    most.map_or_else(|| NOT_SET.to_owned(), |most| most.to_string())
}

fn or_off(value: Option<&impl Display>) -> String {
    value.map_or_else(|| "off".to_owned(), ToString::to_string)
}

/// The beginning of a text, on one line.
fn excerpt(text: &[u8]) -> String {
    const MAX: usize = 40;
    let shown: String = String::from_utf8_lossy(text).chars().take(MAX).flat_map(char::escape_debug).collect();
    if text.len() > MAX { format!("\"{shown}...\" ({} bytes)", text.len()) } else { format!("\"{shown}\"") }
}

#[cfg(test)]
mod tests;
