//! What the README says is so.

use std::{fs, path::Path, process::Command};

use crate::support::Finished;

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("a README")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The lines between fences of one kind.
fn blocks<'a>(text: &'a str, kind: &str) -> Vec<&'a str> {
    let fence = format!("```{kind}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

fn netd(args: &[&str]) -> Finished {
    Finished::run(Command::new(env!("CARGO_BIN_EXE_netd")).args(args).current_dir(root()))
}

#[test]
fn its_configuration_is_valid_and_so_is_the_example() {
    let text = readme();
    let examples = blocks(&text, "toml");
    assert!(!examples.is_empty());
    for example in examples {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(&file, example).expect("a file to write");
        netd(&["--check", "--config", file.path().to_str().expect("UTF-8")]).ended_with(0);
    }
    netd(&["--check", "--config", "deploy/netd.toml"]).ended_with(0);
}

#[test]
fn its_links_lead_somewhere() {
    let text = readme();
    let targets: Vec<&str> = text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(targets.len() > 5);
    for target in targets {
        assert!(target.contains("://") || root().join(target).exists(), "{target} is not there");
    }
}

/// Each command of the tour is one that the programs know: their own `--help`
/// stands behind its first words.
#[test]
fn its_commands_exist() {
    let text = readme();
    let mut seen = 0;
    for line in blocks(&text, "console").into_iter().flat_map(str::lines) {
        let Some(command) = line.strip_prefix("$ ") else { continue };
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["netctl", command, ..] => {
                Finished::run(Command::new(env!("CARGO_BIN_EXE_netctl")).args([command, "--help"])).ended_with(0);
            }
            ["netd", ..] => {
                let help = netd(&["--help"]).ended_with(0).stdout.clone();
                for flag in words.iter().filter(|word| word.starts_with("--")) {
                    assert!(help.contains(flag), "{flag} in `{line}`");
                }
            }
            _ => continue,
        }
        seen += 1;
    }
    assert!(seen >= 8, "only {seen} commands were found");
}
