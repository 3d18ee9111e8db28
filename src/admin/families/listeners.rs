//! Families of the listeners.

use std::collections::BTreeMap;

use crate::{
    control::ListenerSnapshot,
    metrics::{Bounds, Family},
};

/// All of them. Entries of one name (a removed listener whose connections are
/// not done, and its successor) are published as one.
pub(super) fn families(snapshots: &[ListenerSnapshot]) -> Vec<Family> {
    let merged = merged(snapshots);
    let mut families = connections(&merged);
    families.extend(accepting(&merged));
    families
}

fn connections(listeners: &[ListenerSnapshot]) -> Vec<Family> {
    let mut accepted =
        Family::counter("netd_listener_connections_accepted_total", "Connections accepted by listener and protocol.");
    let mut active = Family::gauge("netd_listener_connections_active", "Connections open.");
    let mut closed = Family::counter(
        "netd_listener_connections_closed_total",
        "Connections closed: by whom, in which phase, and for what cause.",
    );
    let mut bytes = Family::counter("netd_listener_bytes_total", "Bytes received from clients and sent to them.");
    let mut duration = Family::histogram(
        "netd_listener_connection_duration_seconds",
        "How long connections lasted, from accept to close.",
    );
    for each in listeners {
        let labels = [("listener", each.name.as_str())];
        accepted.count(&[("listener", &each.name), ("protocol", each.protocol)], each.figures.total);
        active.count(&labels, each.figures.active);
        for &(reason, count) in &each.closed {
            let (by, phase, cause) = (reason.by.as_str(), reason.phase.as_str(), reason.cause.as_str());
            closed.count(&[("listener", &each.name), ("by", by), ("phase", phase), ("cause", cause)], count);
        }
        let (from, to) = (each.figures.bytes_from_downstream, each.figures.bytes_to_downstream);
        bytes.count(&[("listener", &each.name), ("direction", "from_downstream")], from);
        bytes.count(&[("listener", &each.name), ("direction", "to_downstream")], to);
        duration.observed(&labels, &each.duration, Bounds::LIFETIME);
    }
    vec![accepted, active, closed, bytes, duration]
}

fn accepting(listeners: &[ListenerSnapshot]) -> Vec<Family> {
    let mut accepting = Family::gauge("netd_listener_accepting", "1 while the listener accepts connections.");
    let mut errors = Family::counter("netd_listener_accept_errors_total", "Accepts that failed.");
    let mut pauses = Family::counter(
        "netd_listener_accept_pauses_total",
        "Times a worker paused accepting because it was out of file descriptors.",
    );
    let mut refused = Family::counter(
        "netd_listener_refused_total",
        "Connections that were refused at once, by cause. They are not among the accepted ones.",
    );
    for each in listeners {
        let labels = [("listener", each.name.as_str())];
        for &(cause, count) in &each.refused {
            refused.count(&[("listener", &each.name), ("cause", cause)], count);
        }
        accepting.sample(&labels, f64::from(u8::from(each.accepting)));
        errors.count(&labels, each.accept_errors);
        pauses.count(&labels, each.accept_pauses);
    }
    vec![accepting, errors, pauses, refused]
}

fn merged(snapshots: &[ListenerSnapshot]) -> Vec<ListenerSnapshot> {
    let mut by_name = BTreeMap::<&str, ListenerSnapshot>::new();
    for each in snapshots {
        by_name.entry(&each.name).and_modify(|sum| add(sum, each)).or_insert_with(|| each.clone());
    }
    by_name.into_values().collect()
}

fn add(sum: &mut ListenerSnapshot, other: &ListenerSnapshot) {
    if other.accepting {
        sum.protocol = other.protocol;
    }
    sum.accepting |= other.accepting;
    sum.figures.active += other.figures.active;
    sum.figures.total += other.figures.total;
    sum.figures.bytes_from_downstream += other.figures.bytes_from_downstream;
    sum.figures.bytes_to_downstream += other.figures.bytes_to_downstream;
    sum.accept_errors += other.accept_errors;
    sum.accept_pauses += other.accept_pauses;
    for &(reason, count) in &other.closed {
        match sum.closed.iter_mut().find(|(each, _)| *each == reason) {
            Some((_, total)) => *total += count,
            None => sum.closed.push((reason, count)),
        }
    }
    for &(cause, count) in &other.refused {
        match sum.refused.iter_mut().find(|(each, _)| *each == cause) {
            Some((_, total)) => *total += count,
            None => sum.refused.push((cause, count)),
        }
    }
    sum.duration.add(&other.duration);
}
