//! The kernel's interface. All `unsafe` of netd lives here; nothing here knows
//! a word of netd.

pub mod channel;
pub mod options;
pub mod pipe;
pub mod process;
pub mod socket;
pub mod spawn;
pub mod thread;
pub mod watch;
