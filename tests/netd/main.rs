//! netd as its users meet it: the real binaries over real sockets, by theme.

mod support;

mod admin;
mod bad_input;
mod config;
mod daemon;
mod drain;
mod limits;
mod metrics;
mod protocols;
mod readme;
mod real;
mod relay;
mod reload;
mod service;
mod stalls;
mod trial;
mod upgrade;
mod workers;
