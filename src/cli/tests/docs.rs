//! The book of netctl shows true output.
//!
//! Every `console` block of `docs/netctl.md` is run. `cargo test --lib
//! cli::tests::docs -- --ignored` writes the blocks anew.

use std::{fmt::Write, fs};

use clap::{CommandFactory, Parser};

use super::{Args, Daemon, Ran, around, netctl};

const BOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/netctl.md");

#[tokio::test]
async fn the_book_shows_true_output() {
    let book = fs::read_to_string(BOOK).unwrap();
    let rewritten = rewrite(&book).await;
    for (written, true_line) in book.lines().zip(rewritten.lines()) {
        assert_eq!(written, true_line, "docs/netctl.md is not what netctl prints; the true text is\n{rewritten}");
    }
    assert_eq!(book, rewritten);
}

#[tokio::test]
#[ignore = "writes docs/netctl.md"]
async fn write_the_book_anew() {
    let book = fs::read_to_string(BOOK).unwrap();
    fs::write(BOOK, rewrite(&book).await).unwrap();
}

#[test]
fn the_book_has_every_command_and_exit_status() {
    let book = fs::read_to_string(BOOK).unwrap();
    for command in Args::command().get_subcommands() {
        let name = command.get_name();
        assert!(book.contains(&format!("\n$ netctl {name}")), "no example of `netctl {name}`");
    }
    for status in [0, 1, 2, 3, 4, 5, 6, 7, 130] {
        assert!(book.contains(&format!("\n| {status} |")), "exit status {status} is not explained");
    }
}

async fn rewrite(book: &str) -> String {
    let mut text = String::new();
    let mut lines = book.lines();
    while let Some(line) = lines.next() {
        writeln!(text, "{line}").unwrap();
        if line == "```console" {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            text.push_str(&session(block.iter().filter_map(|line| line.strip_prefix("$ "))).await);
            text.push_str("```\n");
        }
    }
    text
}

/// What a terminal would show of these commands.
async fn session(commands: impl Iterator<Item = &str>) -> String {
    let daemon = Daemon::start();
    let mut text = String::new();
    let mut last = 0;
    for command in commands {
        writeln!(text, "$ {command}").unwrap();
        if command == "echo $?" {
            writeln!(text, "{last}").unwrap();
            continue;
        }
        let ran = run(&daemon, command).await;
        last = ran.status;
        text.push_str(&ran.out);
        text.push_str(&ran.err);
    }
    text
}

async fn run(daemon: &Daemon, command: &str) -> Ran {
    let candidate = daemon.directory.path().join("candidate.toml");
    fs::write(&candidate, "# a candidate").unwrap();
    let candidate = candidate.display().to_string();
    let words = split(command);
    assert_eq!(words[0], "netctl");
    let words: Vec<&str> = words[1..]
        .iter()
        .map(|word| if word == "candidate.toml" { candidate.as_str() } else { word.as_str() })
        .collect();
    if words.contains(&"--admin") {
        return netctl(Args::try_parse_from([&["netctl"], &words[..]].concat()).unwrap(), &around()).await;
    }
    daemon.netctl(&words).await
}

/// Words of a shell's line; single quotes hold words together.
fn split(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (index, part) in command.split('\'').enumerate() {
        if index % 2 == 1 {
            words.last_mut().unwrap().push_str(part);
            continue;
        }
        for (index, word) in part.split(' ').enumerate() {
            if index > 0 {
                words.push(String::new());
            }
            words.last_mut().unwrap().push_str(word);
        }
    }
    words
}
