//! The real servers, driven over real sockets, before a Controller that is a
//! script.

mod api;
pub(super) mod fake;
mod generations;
mod http;
mod server;
