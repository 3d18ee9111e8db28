//! Programs that come to an end.

use std::{
    fs::File,
    io::{Read, Seek},
    process::{Command, ExitStatus, Stdio},
};

use super::clock::eventually;

/// A program that has ended, and what it said.
#[derive(Debug)]
pub(crate) struct Finished {
    command: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Runs it to its end. What it leaves running does not matter.
    #[track_caller]
    pub(crate) fn run(command: &mut Command) -> Self {
        let mut stdout = tempfile::tempfile().expect("a temporary file");
        let mut stderr = tempfile::tempfile().expect("a temporary file");
        let text = format!("{command:?}");
        let clone = |file: &File| file.try_clone().expect("a free file descriptor");
        let child = command.stdin(Stdio::null()).stdout(clone(&stdout)).stderr(clone(&stderr)).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{text}: {error}"));
        let status = eventually(&text, || child.try_wait().expect("a child to wait for"));
        Self { command: text, status, stdout: content(&mut stdout), stderr: content(&mut stderr) }
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Ended with this status.
    #[track_caller]
    pub(crate) fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{}", self.story());
        self
    }

    /// Said this on stderr.
    #[track_caller]
    pub(crate) fn complained(self, about: &str) -> Self {
        assert!(self.stderr.contains(about), "`{about}` is not said\n{}", self.story());
        self
    }

    /// Said this on stdout.
    #[track_caller]
    pub(crate) fn said(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "`{text}` is not said\n{}", self.story());
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{}", self.story()))
    }

    /// One value a line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}\n{}", self.story()));
        self.stdout.lines().map(read).collect()
    }

    pub(crate) fn story(&self) -> String {
        format!(
            "{}\nended: {}\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.command, self.status, self.stdout, self.stderr
        )
    }
}

fn content(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a readable file");
    String::from_utf8_lossy(&bytes).into_owned()
}
