//! The edges an operator reaches: the gRPC admin API and metrics over HTTP.
//!
//! Both bind before privileges are dropped ([`AdminListeners::bind`],
//! [`MetricsListener::bind`]) and serve after ([`serve_admin`],
//! [`serve_metrics`]). They decide nothing: a request is checked, put into
//! control's words, asked, and the answer is put into the API's words. Each
//! keeps a few file descriptors in reserve, so that it can be reached when the
//! process has none left.

mod accept;
mod answering;
mod auth;
mod bind;
mod convert;
mod families;
mod health;
mod metrics_http;
mod reserve;
mod server;
mod service;

#[cfg(test)]
mod tests;

pub use auth::{Access, Group};
pub use bind::{AdminListeners, AdminOptions, AdminSockets, FileGuard};
pub use metrics_http::{MetricsListener, serve as serve_metrics};
pub use server::serve as serve_admin;
