//! netd
fn main() {}
