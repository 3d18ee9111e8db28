//! `netctl`, the client of the admin API.
//!
//! [`run`] is the whole program: arguments, what surrounds the process and two
//! writers in, an [`ExitStatus`] out. Only the binary exits.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `args` | the command line |
//! | `surroundings` | environment, clock, terminal: read once, here only |
//! | `target` | which daemon to talk to |
//! | `client` | the connection; errors made into messages and exit statuses |
//! | `commands` | one function a command: request, answer, output |
//! | `output` | pure: answers into tables, lines and JSON |

mod args;
mod client;
mod commands;
mod exit;
mod object;
mod output;
mod run;
mod surroundings;
mod target;

#[cfg(test)]
mod tests;

pub use args::{Args, Command, Globals, OutputFormat};
pub use exit::ExitStatus;
pub use run::run;
pub use surroundings::Surroundings;
