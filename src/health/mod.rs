//! Which endpoints can be used, as pure rules: results and a time in, verdicts
//! and the next time out. Asking an endpoint is the probe's; what follows from
//! a verdict is control's.

mod checker;
mod outlier;
mod panic;
mod schedule;

pub use checker::{Checker, Terms, Verdict};
pub use outlier::{Cause, Limits, Outlier, Seen};
pub use panic::panics;
pub use schedule::Schedule;
