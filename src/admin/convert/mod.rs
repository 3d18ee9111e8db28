//! Between the words of the API and the words of control. [`incoming`] checks
//! requests; [`outgoing`] writes answers.

pub(super) mod incoming;
pub(super) mod outgoing;
pub(super) mod upgrade;
