//! The configuration: what the operator wrote, checked into types that cannot
//! be wrong. Nothing downstream validates again.
//!
//! Pure: text in, [`Config`] or all errors of the text out. Reading files and
//! the environment is the caller's.
//!
//! The way of a file: [`parse`] (`file`, `objects`) walks the spanned TOML tree
//! with a typed `reader` that collects problems, expands `${VAR}`
//! (`substitute`) and reads single values (`values`, `units`); then `check`
//! applies the rules that join several values, for files and [`Flags`] alike;
//! [`Errors`] shows what was found.

mod access_log;
#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod arbitrary_limits;
#[cfg(test)]
mod arbitrary_real;
mod balancing;
mod check;
mod checks;
mod default;
mod diff;
mod diff_limits;
mod errors;
mod file;
mod flags;
mod health;
mod limit_keys;
mod limits;
mod lists;
mod meaningless;
mod objects;
mod proxy;
mod reader;
mod relaying;
mod render;
mod render_limits;
mod substitute;
mod suggest;
mod tcp;
mod types;
mod units;
mod values;

pub use access_log::{AccessLog, AccessOnly, AccessTarget, Sample};
pub use balancing::*;
pub use default::DEFAULT_TEXT;
pub use diff::*;
pub use errors::{Errors, Problem};
pub use file::{MAX_FILE_SIZE, parse, parse_bytes};
pub use flags::{Flags, with_flags};
pub use health::*;
pub use limits::*;
pub use lists::{MAX_LIST_SIZE, read_networks, with_lists};
pub use proxy::{Proxy, ProxyTlv, ProxyVersions, SendProxy, Source, Trusted, Untrusted};
pub use tcp::{Keepalive, Tcp};
pub use types::*;
pub use units::{format_duration, format_size, parse_duration, parse_size};
