//! `netctl status`: one screen for 3 a.m.

use crate::pb;

use super::{
    Look,
    grid::{self, Column, Grid},
    history, units,
};

/// The whole page.
pub(crate) fn page(status: &pb::GetStatusResponse, look: Look) -> String {
    let mut text = summary(status, look);
    text.push('\n');
    text.push_str(&workers(&status.workers, look));
    text
}

fn summary(status: &pb::GetStatusResponse, look: Look) -> String {
    let figures = status.figures.unwrap_or_default();
    let mut grid = Grid::plain(look);
    grid.styled_row([grid::text("state"), grid::state(&status.state)]);
    let mut fact = |name: &str, value: String| grid.row([name.to_owned(), value]);
    fact("version", format!("{}, pid {}{}", status.version, status.pid, uptime(status, look)));
    fact("configuration", configuration(status, look));
    if let Some(pending) = &status.pending {
        fact("pending", format!("generation {} is {}", pending.generation, history::pending(pending, look)));
    }
    fact("last reload", last_reload(&status.last_reload));
    fact("connections", format!("{} open, {} since start", units::count(figures.active), units::count(figures.total)));
    fact(
        "bytes",
        format!(
            "{} from clients, {} to clients",
            units::bytes(figures.bytes_from_downstream),
            units::bytes(figures.bytes_to_downstream)
        ),
    );
    fact("open files", open_files(status));
    fact("memory", units::bytes(status.memory_bytes));
    fact("log", log(status));
    fact("overrides", overrides(status.overrides));
    grid.render()
}

fn uptime(status: &pb::GetStatusResponse, look: Look) -> String {
    match units::time(status.started_at.as_ref()) {
        Some(at) => format!(", up {}", units::duration(units::age(at, look.now))),
        None => String::new(),
    }
}

fn configuration(status: &pb::GetStatusResponse, look: Look) -> String {
    let own = match status.config_path.as_str() {
        "" => "flags or the built-in default",
        path => path,
    };
    let source = match status.candidate_by.as_str() {
        "" if status.restored_from > 0 => {
            format!("generation {} again (by {}), not from {own}", status.restored_from, status.restored_by)
        }
        "" => own.to_owned(),
        who => format!("a candidate over the admin API (by {who}), not from {own}"),
    };
    let applied = match units::time(status.applied_at.as_ref()) {
        Some(at) => format!(", applied {}", units::ago(at, look.now)),
        None => String::new(),
    };
    format!("generation {} from {source}{applied}", status.generation)
}

fn last_reload(outcome: &str) -> String {
    match outcome {
        "" => "none yet".to_owned(),
        "ok" => "ok".to_owned(),
        report => match report.split_once('\n') {
            Some(_) => format!("failed: {}; `netctl status -o json` has them", units::first_line(report)),
            None => format!("failed: {report}"),
        },
    }
}

/// `info, to the journal`; an older netd does not say where.
fn log(status: &pb::GetStatusResponse) -> String {
    match status.log_destination.as_str() {
        "" => status.log_level.clone(),
        nowhere if nowhere.starts_with("nowhere") => format!("{}, {nowhere}", status.log_level),
        destination => format!("{}, to {destination}", status.log_level),
    }
}

fn open_files(status: &pb::GetStatusResponse) -> String {
    let share = status.fds_used.saturating_mul(100).checked_div(status.fds_limit);
    let share = share.map(|percent| format!(" ({percent}%)")).unwrap_or_default();
    format!("{} of {}{share}", units::count(status.fds_used), units::count(status.fds_limit))
}

fn overrides(number: u32) -> String {
    match number {
        0 => "none".to_owned(),
        number => format!("{number} in force; `netctl listeners` and `netctl pools` show them"),
    }
}

fn workers(workers: &[pb::Worker], look: Look) -> String {
    use Column::{Figure, Text};
    if workers.is_empty() {
        return "No worker runs.\n".to_owned();
    }
    let columns = [
        Figure("WORKER"),
        Figure("CPU"),
        Figure("OPEN"),
        Figure("ACCEPTED"),
        Figure("TURNS"),
        Text("HEARTBEAT"),
        Text("STATE"),
    ];
    let mut grid = Grid::new(&columns, look);
    for worker in workers {
        grid.styled_row([
            grid::text(worker.index.to_string()),
            grid::text(worker.cpu.map_or_else(|| "any".to_owned(), |cpu| cpu.to_string())),
            grid::text(units::count(worker.active)),
            grid::text(units::count(worker.accepted)),
            grid::text(units::count(worker.turns)),
            grid::state(if worker.responsive { "ok" } else { "late" }),
            grid::state(match &worker.r#override {
                None => "in service",
                Some(_) if worker.active > 0 => "draining",
                Some(_) => "drained",
            }),
        ]);
    }
    grid.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reload_takes_one_line() {
        assert_eq!(last_reload(""), "none yet");
        assert_eq!(last_reload("ok"), "ok");
        assert_eq!(last_reload("worker 0 did not answer"), "failed: worker 0 did not answer");
        let report = "the configuration is not valid: a:1:1: unknown key\nerror: unknown key\n --> a:1:1\n";
        assert_eq!(
            last_reload(report),
            "failed: the configuration is not valid: a:1:1: unknown key … (2 more lines); `netctl status -o json` has \
             them"
        );
    }

    #[test]
    fn a_candidate_is_not_taken_for_the_file() {
        let look = Look { width: None, colour: false, now: std::time::SystemTime::UNIX_EPOCH };
        let mut status =
            pb::GetStatusResponse { generation: 2, config_path: "/a.toml".to_owned(), ..Default::default() };
        assert_eq!(configuration(&status, look), "generation 2 from /a.toml");
        status.candidate_by = "anna".to_owned();
        assert_eq!(
            configuration(&status, look),
            "generation 2 from a candidate over the admin API (by anna), not from /a.toml"
        );
        let status = pb::GetStatusResponse {
            candidate_by: String::new(),
            restored_from: 1,
            restored_by: "netd".to_owned(),
            ..status
        };
        assert_eq!(configuration(&status, look), "generation 2 from generation 1 again (by netd), not from /a.toml");
    }
}
