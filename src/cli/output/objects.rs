//! Listeners, pools, endpoints, and the overrides above them.

use std::time::SystemTime;

mod health;

use crate::pb;

use super::{
    Look, choice,
    grid::{self, Column, Grid},
    units,
};

/// The table of `netctl listeners`.
pub(crate) fn listeners(listeners: &[pb::Listener], look: Look) -> String {
    use Column::{Figure, Text};
    if listeners.is_empty() {
        return "No listener is configured.\n".to_owned();
    }
    let columns = [
        Text("LISTENER"),
        Text("ADDRESS"),
        Text("PROTOCOL"),
        Text("STATE"),
        Figure("OPEN"),
        Figure("TOTAL"),
        Figure("BYTES IN"),
        Figure("BYTES OUT"),
        Figure("ERRORS"),
    ];
    let mut grid = Grid::new(&columns, look);
    for listener in listeners {
        let [open, total, bytes_in, bytes_out] = figures(listener.figures);
        grid.styled_row([
            grid::text(&listener.name),
            grid::text(address(listener)),
            grid::text(protocol(listener)),
            grid::state(&listener.state),
            grid::text(open),
            grid::text(total),
            grid::text(bytes_in),
            grid::text(bytes_out),
            grid::text(units::count(listener.accept_errors)),
        ]);
    }
    let above = listeners.iter().flat_map(|listener| {
        let both = listener.r#override.iter().chain(&listener.split_override);
        both.map(|above| (format!("listener/{}", listener.name), above))
    });
    let limited = listeners.iter().filter_map(|listener| {
        let text = limits(&listener.limits, &listener.refused)?;
        Some(format!("  listener/{}: {text}", listener.name))
    });
    grid.render() + &overrides(above, look) + &section("Limits:", limited)
}

/// `max_connections 37 of 100 (37%), rate 100/s; refused 12 listener-rate`;
/// `None`: nothing is limited, and nothing was refused.
pub(super) fn limits(limits: &[pb::LimitUse], refused: &[pb::Refused]) -> Option<String> {
    let limit = |each: &pb::LimitUse| match each.used {
        Some(used) => {
            let share = each.limit.parse().ok().and_then(|limit| used.saturating_mul(100).checked_div(limit));
            let share = share.map(|percent| format!(" ({percent}%)")).unwrap_or_default();
            format!("{} {} of {}{share}", each.name, units::count(used), each.limit)
        }
        None => format!("{} {}", each.name, each.limit),
    };
    let limits: Vec<String> = limits.iter().map(limit).collect();
    let refused: Vec<String> =
        refused.iter().map(|each| format!("{} {}", units::count(each.count), each.cause)).collect();
    let refused = Some(refused.join(", ")).filter(|text| !text.is_empty()).map(|text| format!("refused {text}"));
    let parts: Vec<String> =
        Some(limits.join(", ")).filter(|text| !text.is_empty()).into_iter().chain(refused).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The table of `netctl pools`.
pub(crate) fn pools(pools: &[pb::Pool], look: Look) -> String {
    use Column::{Figure, Text};
    if pools.is_empty() {
        return "No pool is configured.\n".to_owned();
    }
    let columns = [
        Text("POOL"),
        Text("STATE"),
        Text("POLICY, WEIGHT"),
        Figure("OPEN"),
        Figure("TOTAL"),
        Figure("BYTES IN"),
        Figure("BYTES OUT"),
        Figure("FAILED"),
        Figure("CONNECT"),
    ];
    let mut grid = Grid::new(&columns, look);
    for pool in pools {
        pool_rows(pool, &mut grid);
    }
    let above = pools.iter().flat_map(|pool| {
        let endpoints = pool.endpoints.iter().filter_map(move |endpoint| {
            let above = endpoint.r#override.as_ref()?;
            Some((format!("endpoint/{}/{}", pool.name, endpoint.address), above))
        });
        pool.r#override.iter().map(move |above| (format!("pool/{}", pool.name), above)).chain(endpoints)
    });
    let limited =
        pools.iter().filter_map(|pool| Some(format!("  pool/{}: {}", pool.name, limits(&pool.limits, &pool.refused)?)));
    grid.render()
        + &overrides(above, look)
        + &section("Limits:", limited)
        + &section("Health:", health::lines(pools, look))
        + &failures(pools, look)
}

/// The answer to `netctl set`.
pub(crate) fn endpoint(pool: &str, endpoint: &pb::Endpoint, now: SystemTime) -> String {
    let weight = weight(endpoint);
    let above = match &endpoint.r#override {
        Some(above) => describe(above, now),
        None => "none".to_owned(),
    };
    let text =
        format!("endpoint/{pool}/{}: {}, weight {weight}\noverride: {above}\n", endpoint.address, endpoint.state);
    units::printable(&text).into_owned()
}

/// An override in one line: `draining, set 3m 12s ago by anna (ticket 4711), for another 6m 48s`.
pub(super) fn describe(above: &pb::Override, now: SystemTime) -> String {
    let mut text = above.value.clone();
    if let Some(at) = units::time(above.set_at.as_ref()) {
        text.push_str(&format!(", set {}", units::ago(at, now)));
    }
    if let Some(by) = provenance(above.by.as_ref()) {
        text.push_str(&format!(" by {by}"));
    }
    if let Some(end) = units::time(above.expires_at.as_ref()) {
        text.push_str(&format!(", for another {}", units::duration(units::age(now, end))));
    }
    text
}

/// `anna (ticket 4711)`; `None` if nothing is known.
pub(super) fn provenance(by: Option<&pb::Provenance>) -> Option<String> {
    let by = by?;
    match (by.who.as_str(), by.why.as_str()) {
        ("", "") => None,
        (who, "") => Some(who.to_owned()),
        ("", why) => Some(format!("somebody ({why})")),
        (who, why) => Some(format!("{who} ({why})")),
    }
}

fn address(listener: &pb::Listener) -> String {
    match listener.bound.as_str() {
        "" => listener.address.clone(),
        bound if bound == listener.address => bound.to_owned(),
        bound => format!("{} ({bound})", listener.address),
    }
}

fn protocol(listener: &pb::Listener) -> String {
    match (listener.pool.as_str(), listener.pools.as_slice()) {
        ("", []) => listener.protocol.clone(),
        ("", pools) => format!("{} to {}", listener.protocol, choice::shares(pools)),
        (pool, _) => format!("{} to {pool}", listener.protocol),
    }
}

fn figures(figures: Option<pb::Figures>) -> [String; 4] {
    let figures = figures.unwrap_or_default();
    [
        units::count(figures.active),
        units::count(figures.total),
        units::bytes(figures.bytes_from_downstream),
        units::bytes(figures.bytes_to_downstream),
    ]
}

fn pool_rows(pool: &pb::Pool, grid: &mut Grid) {
    let [open, total, bytes_in, bytes_out] = figures(pool.figures);
    let failed: u64 = pool.endpoints.iter().fold(0, |sum, endpoint| sum.saturating_add(endpoint.connect_failures));
    let users = match pool.listeners.as_slice() {
        [] => "no listener".to_owned(),
        names => names.join(", "),
    };
    grid.styled_row([
        grid::text(format!("{} ({users})", pool.name)),
        grid::state_with(&pool.state, &reachable(pool)),
        grid::text(&pool.policy),
        grid::text(open),
        grid::text(total),
        grid::text(bytes_in),
        grid::text(bytes_out),
        grid::text(units::count(failed)),
        grid::text(""),
    ]);
    for endpoint in &pool.endpoints {
        let [_, total, bytes_in, bytes_out] = figures(endpoint.figures);
        let open = choice::load(endpoint.figures.unwrap_or_default().active, endpoint.max_connections);
        grid.styled_row([
            grid::text(format!("  {}", endpoint.address)),
            grid::state(&endpoint.state),
            grid::text(weight(endpoint)),
            grid::text(open),
            grid::text(total),
            grid::text(bytes_in),
            grid::text(bytes_out),
            grid::text(units::count(endpoint.connect_failures)),
            grid::text(units::span(endpoint.mean_connect_time.as_ref()).map(units::duration).unwrap_or_default()),
        ]);
    }
}

/// `, 1 of 2`: how many endpoints can be reached, unless all that are configured
/// can.
fn reachable(pool: &pb::Pool) -> String {
    let configured = pool.endpoints.iter().filter(|endpoint| endpoint.state != "removed").count();
    if pool.panic {
        return format!(", {} of {configured}, panic: all are used", pool.reachable);
    }
    if pool.reachable as usize == configured || pool.state == "removed" {
        return String::new();
    }
    format!(", {} of {configured}", pool.reachable)
}

/// The weight in force, and the file's where that is another.
fn weight(endpoint: &pb::Endpoint) -> String {
    let weight = choice::weight(endpoint.weight, endpoint.share_percent, endpoint.backup);
    if endpoint.weight == endpoint.configured_weight {
        weight
    } else {
        format!("{weight} (file {})", endpoint.configured_weight)
    }
}

fn overrides<'a>(above: impl Iterator<Item = (String, &'a pb::Override)>, look: Look) -> String {
    let lines = above.map(|(object, above)| format!("  {object}: {}", describe(above, look.now)));
    section("Overrides, which stand above the file:", lines)
}

fn failures(pools: &[pb::Pool], look: Look) -> String {
    let failed = pools.iter().flat_map(|pool| {
        let endpoints = pool.endpoints.iter().filter(|endpoint| !endpoint.last_failure.is_empty());
        endpoints.map(move |endpoint| {
            let when = units::time(endpoint.last_failure_at.as_ref()).map(|at| units::ago(at, look.now));
            let when = when.map(|when| format!(" {when}")).unwrap_or_default();
            format!("  endpoint/{}/{}:{when}: {}", pool.name, endpoint.address, endpoint.last_failure)
        })
    });
    section("Last failed connects:", failed)
}

fn section(title: &str, lines: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = lines.map(|line| units::printable(&line).into_owned()).collect();
    if lines.is_empty() { String::new() } else { format!("\n{title}\n{}\n", lines.join("\n")) }
}
