//! Tells the program which pingora it has: the lock file knows.

use std::fs;

fn main() {
    println!("cargo::rerun-if-changed=Cargo.lock");
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"pingora-core\"");
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = ")).unwrap_or("\"?\"");
    println!("cargo::rustc-env=PINGORA={}", version.trim_matches('"'));
}
