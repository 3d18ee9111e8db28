//! What is different between two settings of what is let in.

use std::{fmt::Display, time::Duration};

use crate::config::{
    Config,
    diff::{Details, NOT_SET},
    format_duration,
    limits::{Budget, ListenerLimits, PoolLimits, Queue},
    render_limits::memory,
};

pub(super) fn limits(old: &Config, new: &Config) -> Details {
    let (old, new) = (&old.limits, &new.limits);
    let mut details = Details::default();
    details.compare("max_connections", &old.max_connections, &new.max_connections, or_off);
    details.compare("overload", &old.overload, &new.overload, |mode| mode.as_str());
    details.compare("memory", &old.memory, &new.memory, |limit| memory(*limit));
    details
}

pub(super) fn listener(details: &mut Details, old: &ListenerLimits, new: &ListenerLimits) {
    details.compare("max_connections", &old.max_connections, &new.max_connections, or_off);
    details.compare(
        "max_connections_per_source",
        &old.max_connections_per_source,
        &new.max_connections_per_source,
        or_off,
    );
    details.compare("rate", &old.rate, &new.rate, or_off);
    details.compare("rate_per_source", &old.rate_per_source, &new.rate_per_source, or_off);
    details.compare("source_prefix_v4", &old.source.v4, &new.source.v4, |bits| *bits);
    details.compare("source_prefix_v6", &old.source.v6, &new.source.v6, |bits| *bits);
    details.compare("source_table", &old.source_table, &new.source_table, |table| table.0);
    details.compare("allow", &old.allow, &new.allow, or_not_set);
    details.compare("deny", &old.deny, &new.deny, or_not_set);
    details.compare("first_byte_timeout", &old.first_byte_timeout, &new.first_byte_timeout, time_or_off);
    details.compare("half_closed_timeout", &old.half_closed_timeout, &new.half_closed_timeout, time_or_off);
    details.compare("max_lifetime", &old.max_lifetime, &new.max_lifetime, time_or_off);
    details.compare("lifetime_jitter", &old.lifetime_jitter, &new.lifetime_jitter, |jitter| format!("{}%", jitter.0));
    for (key, old, new) in [
        ("refuse.denied", &old.refuse.denied, &new.refuse.denied),
        ("refuse.full", &old.refuse.full, &new.refuse.full),
        ("refuse.overload", &old.refuse.overload, &new.refuse.overload),
        ("refuse.rate", &old.refuse.rate, &new.refuse.rate),
    ] {
        details.compare(key, old, new, ToString::to_string);
    }
}

pub(super) fn pool(details: &mut Details, old: &PoolLimits, new: &PoolLimits) {
    details.compare("max_connections", &old.max_connections, &new.max_connections, or_off);
    details.compare("queue", &old.queue, &new.queue, |queue| match queue {
        Some(Queue { size, timeout }) => format!("{size} for {}", format_duration(*timeout)),
        None => "off".to_owned(),
    });
    details.compare("retry_budget", &old.retry_budget, &new.retry_budget, |budget| match budget {
        Some(Budget { percent, reserve }) => format!("{percent}% and {reserve}"),
        None => "off".to_owned(),
    });
}

fn or_off(value: &Option<impl Display>) -> String {
    value.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string)
}

fn or_not_set(value: &Option<impl Display>) -> String {
    value.as_ref().map_or_else(|| NOT_SET.to_owned(), ToString::to_string)
}

fn time_or_off(value: &Option<Duration>) -> String {
    value.map_or_else(|| "off".to_owned(), format_duration)
}
