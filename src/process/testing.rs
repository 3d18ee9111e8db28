//! Tests that change the process as a whole run in one of their own: the test
//! program starts itself again for a single, otherwise ignored, test.

use std::process::{Command, Output};

const MARK: &str = "NETD_TEST_OWN_PROCESS";

/// The command that runs the ignored test `name` (full path) alone, on the
/// main thread, in a new process.
pub(crate) fn own_process(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]).env(MARK, "1");
    command
}

/// Runs the ignored test `name` in a process of its own; it must pass.
pub(crate) fn in_own_process(name: &str) -> Output {
    let output = own_process(name).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{name}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Whether this process was started for one test.
pub(crate) fn is_own_process() -> bool {
    env(MARK).is_some()
}

/// An environment variable that a test passed to its own process.
#[expect(clippy::disallowed_methods, reason = "how a test tells its own process what to do")]
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
