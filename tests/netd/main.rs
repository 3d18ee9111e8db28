//! netd as its users meet it: the real binaries over real sockets, by theme.

mod support;

mod access_log;
mod admin;
mod admission;
mod bad_input;
mod balancing;
mod config;
mod daemon;
mod drain;
mod health;
mod limits;
mod metrics;
mod protocols;
mod readme;
mod real;
mod redial;
mod relay;
mod reload;
mod service;
mod stalls;
mod trial;
mod upgrade;
mod workers;
