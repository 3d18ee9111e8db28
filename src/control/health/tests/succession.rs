//! What an heir knows from the first moment on.

use super::*;
use crate::{
    control::{Clock, HealthLedger, KnownHealth, clock::Now, health::Health, state::State},
    metrics::HistogramSnapshot,
};

fn kept(address: &str, healthy: Option<bool>, ejected: Option<Duration>) -> KnownHealth {
    KnownHealth {
        pool: "db".to_owned(),
        address: address.to_owned(),
        healthy,
        ejected,
        ejections: u32::from(ejected.is_some()),
        since: std::time::SystemTime::UNIX_EPOCH,
        why: "so it was".to_owned(),
        healthy_at: healthy.and(Some(std::time::SystemTime::UNIX_EPOCH)),
    }
}

fn heir(pool: Arc<Pool>, inheritance: Vec<KnownHealth>, now: Now) -> (Health, State) {
    let config = Arc::new(config(vec![pool]));
    let (mut health, mut state) = (Health::new(1), State::new(config.clone(), now.wall));
    health.inherit(&config, inheritance, now);
    health.follow(&config, now);
    if let (Some(resting), _) = health.settle(&state) {
        state.let_rest(resting);
    }
    (health, state)
}

fn rests(state: &State) -> [bool; 3] {
    [A, B, C].map(|address| state.rests("db", &address.parse().unwrap()))
}

#[test]
fn an_heir_lets_rest_what_rested() {
    let now = Clock::system().now();
    let watched = PoolHealth { outlier: Some(outlier()), panic_threshold: 0, ..health(check()) };
    let known = [
        kept(A, Some(false), None),
        kept(B, Some(true), Some(Duration::from_secs(7))),
        kept(C, Some(true), None),
        kept("10.0.0.9:1", Some(false), None),
    ];
    let (health, state) = heir(db(&[A, B, C], watched), known.to_vec(), now);
    assert_eq!(rests(&state), [true, true, false]);
    let mut again = health.keepsakes(now);
    again.sort_by(|one, other| one.address.cmp(&other.address));
    assert_eq!(again, known[..3], "what is gone from the configuration is forgotten, all else handed on as it is");
}

#[test]
fn an_heir_uses_at_once_what_was_healthy() {
    let now = Clock::system().now();
    let unused = || db(&[A, B, C], health(HealthCheck { initial: Initial::Unused, ..check() }));
    let (_, state) = heir(unused(), vec![kept(A, Some(true), None)], now);
    assert_eq!(rests(&state), [false, true, true]);
}

#[test]
fn an_ejection_is_forgotten_where_nobody_ejects_any_more() {
    let now = Clock::system().now();
    let ejected = kept(A, None, Some(Duration::from_secs(7)));
    let (health, state) = heir(db(&[A, B, C], health(check())), vec![ejected], now);
    assert_eq!(rests(&state), [false; 3]);
    assert_eq!(health.keepsakes(now), []);
}

#[test]
fn counts_go_on_where_somebody_counts() {
    let now = Clock::system().now();
    let (mut health, _) = heir(db(&[A, B], health(check())), Vec::new(), now);
    let counted = |address: &str, pool: &str| {
        (
            (pool.to_owned(), address.to_owned()),
            HealthLedger { ejections: 2, ejections_refused: 1, probes: [7, 3, 1, 0] },
        )
    };
    let mut time = HistogramSnapshot { sum_micros: 500, ..HistogramSnapshot::default() };
    time.buckets[4] = 11;
    let all = [counted(A, "db"), counted(C, "db"), counted(A, "other"), counted("no address", "db")];
    // A whole, then what was counted meanwhile.
    health.absorb(&all, &[("db".to_owned(), time.clone()), ("other".to_owned(), time.clone())]);
    health.absorb(&all[..1], &[]);
    let figures = |address: &str| health.figures("db", &address.parse().unwrap());
    let a = figures(A).unwrap();
    assert_eq!((a.ejections, a.probes), (4, Some([14, 6, 2, 0])));
    let b = figures(B).unwrap();
    assert_eq!((b.ejections, b.probes), (0, Some([0; 4])));
    assert!(figures(C).is_none());
    assert_eq!(health.probe_time("db"), Some(time));
}
