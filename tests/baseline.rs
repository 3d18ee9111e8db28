//! How instruction counts are compared with those in the tree.

#[path = "../benches/instructions/baseline.rs"]
mod baseline;

use std::collections::BTreeMap;

use baseline::{Baseline, Tools};

fn baseline(counts: &[(&str, f64)]) -> Baseline {
    let tools = Tools { rustc: "rustc 1".to_owned(), libc: "libc 2".to_owned(), valgrind: "valgrind 3".to_owned() };
    Baseline { tools, counts: named(counts) }
}

fn named(counts: &[(&str, f64)]) -> BTreeMap<String, f64> {
    counts.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
}

#[test]
fn a_file_reads_as_it_was_written() {
    let written = baseline(&[("pick/10", 393.0), ("worker/relayed_request", 2757.5)]);
    assert_eq!(Baseline::parse(&written.render()), Ok(written));
    assert!(Baseline::parse("rustc = 1\nlibc = 2\n").unwrap_err().contains("valgrind"));
    assert!(Baseline::parse("rustc = 1\nlibc = 2\nvalgrind = 3\npick = many").is_err());
    assert!(Baseline::parse("pick").is_err());
}

#[test]
fn growth_fails_and_so_does_a_piece_of_one_side_alone() {
    let before = baseline(&[("a", 1000.0), ("b", 1000.0), ("c", 1000.0), ("gone", 1.0)]);
    let now = named(&[("a", 1032.0), ("b", 1020.0), ("c", 900.0), ("new", 1.0)]);
    let found: Vec<_> = before.verdicts(&now, before.tolerance(&before.tools)).into_iter().collect();
    let failed: Vec<&str> =
        found.iter().filter(|(_, verdict)| verdict.is_failure()).map(|(name, _)| name.as_str()).collect();
    assert_eq!(failed, ["a", "new", "gone"]);
    let text: Vec<String> = found.iter().map(|(name, verdict)| format!("{name} {verdict}")).collect();
    assert!(text[0].ends_with("+3.2 %  WORSE") && text[2].ends_with("-10.0 %  BETTER"), "{text:?}");
}

#[test]
fn other_tools_are_named_and_compared_more_loosely() {
    let before = baseline(&[("a", 1000.0)]);
    let other = Tools { rustc: "rustc 2".to_owned(), ..before.tools.clone() };
    assert!(other.to_string().contains("rustc 2"));
    let fails = |now| before.verdicts(&named(&[("a", now)]), before.tolerance(&other))[0].1.is_failure();
    assert!(!fails(1250.0) && fails(1350.0));
}
