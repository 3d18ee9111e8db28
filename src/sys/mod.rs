//! System calls that the safe crates do not offer. All `unsafe` of netd lives here.

pub mod process;
