//! Files with networks, one a line: the text to networks, or every wrong line.

use std::path::Path;

use crate::{
    config::{Config, limits::AccessList},
    limit::Network,
};

/// Most bytes that a file of networks may have.
pub const MAX_LIST_SIZE: usize = 64 * 1024 * 1024;
/// Most networks of one file.
const MAX_NETWORKS: usize = 1_000_000;
/// Wrong lines that are told.
const TOLD: usize = 10;

const ALIEN: &str = "this line is no network; write `10.0.0.0/8`, `2001:db8::/32` or an address";

/// Whether a wrong line may be shown: a file that has nothing to do with
/// networks may be none of the reader's business.
fn is_plain(text: &str) -> bool {
    text.len() <= 50 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || b".:/".contains(&byte))
}

/// Reads networks: one a line, `10.0.0.0/8`, `2001:db8::/32` or an address;
/// empty lines and what follows `#` are left out. `name` is what errors call
/// the text.
///
/// # Errors
/// The first ten wrong lines, `NAME:LINE: what is wrong` each, and how many
/// more there are.
pub fn read_networks(name: &str, bytes: &[u8]) -> Result<Vec<Network>, String> {
    let mut networks = Vec::new();
    let (mut wrong, mut told) = (0, Vec::new());
    if bytes.len() > MAX_LIST_SIZE {
        return Err(format!("{name}: the file is too large; at most {} MiB are read", MAX_LIST_SIZE >> 20));
    }
    for (line, number) in bytes.split(|&byte| byte == b'\n').zip(1u32..) {
        let text = String::from_utf8_lossy(line);
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        match text.parse::<Network>() {
            Ok(network) => networks.push(network),
            Err(error) => {
                wrong += 1;
                if told.len() < TOLD {
                    told.push(format!("{name}:{number}: {}", if is_plain(text) { &error } else { ALIEN }));
                }
            }
        }
        if networks.len() > MAX_NETWORKS {
            return Err(format!("{name}:{number}: too many networks; at most {MAX_NETWORKS} are read"));
        }
    }
    if wrong > TOLD {
        told.push(format!("{name}: {} more wrong lines", wrong - TOLD));
    }
    if told.is_empty() { Ok(networks) } else { Err(told.join("\n")) }
}

/// Fills in what the lists' files have; each file is read once. `read` gives a
/// file's bytes, or says why not.
///
/// # Errors
/// What is wrong with each file.
pub fn with_lists(
    mut config: Config,
    read: &mut dyn FnMut(&Path) -> Result<Vec<u8>, String>,
) -> Result<Config, String> {
    let mut known: Vec<(std::path::PathBuf, Vec<Network>)> = Vec::new();
    let mut problems = Vec::new();
    for listener in &mut config.listeners {
        let limits = &listener.limits;
        if [&limits.allow, &limits.deny].into_iter().flatten().all(|list| list.file.is_none()) {
            continue;
        }
        let name = listener.name.clone();
        let limits = &mut std::sync::Arc::make_mut(listener).limits;
        for (key, list) in [("allow_file", &mut limits.allow), ("deny_file", &mut limits.deny)] {
            let Some(path) = list.as_ref().and_then(|list| list.file.clone()) else { continue };
            if !known.iter().any(|(each, _)| *each == path) {
                let shown = path.display().to_string();
                let outcome = match read(&path) {
                    Ok(bytes) => read_networks(&shown, &bytes),
                    Err(error) => Err(format!("`{key}` of listener `{name}`: cannot read {shown}: {error}")),
                };
                let networks = outcome.unwrap_or_else(|problem| {
                    problems.push(problem);
                    Vec::new()
                });
                known.push((path.clone(), networks));
            }
            let networks = known.iter().find(|(each, _)| *each == path).map(|(_, networks)| networks.as_slice());
            *list = list.take().map(|list: AccessList| list.with_file(networks.unwrap_or_default()));
        }
    }
    if problems.is_empty() { Ok(config) } else { Err(problems.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn networks_are_read_line_by_line() {
        let text = b"# bad neighbours\n10.0.0.0/8\n\n  192.0.2.1  # one\r\n2001:db8::/32\r\n";
        let networks: Vec<String> = read_networks("x", text).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]);
    }

    #[test]
    fn wrong_lines_are_told_with_their_place() {
        let error = read_networks("/etc/deny", b"10.0.0.0/8\n10.0.0.1/8\nlocalhost\n").unwrap_err();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("/etc/deny:2: `10.0.0.1/8` has bits set behind its prefix"), "{error}");
        assert_eq!(lines[1], format!("/etc/deny:3: {ALIEN}"), "what else stands there is not told");
        let error = read_networks("x", &b"\xff\n".repeat(30)).unwrap_err();
        assert_eq!(error.lines().last(), Some("x: 20 more wrong lines"));
    }

    #[test]
    fn each_file_is_read_once_and_all_that_is_wrong_is_told() {
        let text = |file: &str| {
            format!(
                "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nprotocol = \"echo\"\ndeny_file = \"/d\"\n\
                 deny = [\"192.0.2.1\"]\n[[listener]]\nname = \"b\"\naddress = \"127.0.0.1:2\"\nprotocol = \"echo\"\n\
                 deny_file = \"/d\"\nallow_file = \"{file}\"\n"
            )
        };
        let config = |file: &str| parse("x", &text(file), &|_| None).unwrap();
        let mut reads = 0;
        let mut read = |path: &Path| {
            reads += 1;
            match path.to_str() {
                Some("/d") => Ok(b"10.0.0.0/8\n".to_vec()),
                Some("/a") => Ok(b"0.0.0.0/0\n".to_vec()),
                _ => Err("No such file or directory".to_owned()),
            }
        };
        let full = with_lists(config("/a"), &mut read).unwrap();
        let limits = &full.listeners[0].limits;
        assert!(!limits.allows(Some([10, 0, 0, 1].into())) && !limits.allows(Some([192, 0, 2, 1].into())));
        assert!(full.listeners[1].limits.allows(Some([192, 0, 2, 1].into())));
        assert_ne!(full, config("/a"), "another file is another configuration");
        let error = with_lists(config("/none"), &mut read).unwrap_err();
        assert_eq!(error, "`allow_file` of listener `b`: cannot read /none: No such file or directory");
        assert_eq!(reads, 4);
    }

    #[test]
    fn a_hundred_thousand_networks_are_quick_to_read_and_to_ask() {
        let text: String = (0..100_000u32).map(|n| format!("{}\n", std::net::Ipv4Addr::from(n * 40_000))).collect();
        let networks = read_networks("x", text.as_bytes()).unwrap();
        let list = AccessList::default().with_file(&networks);
        let inside = (0..100_000u32).filter(|n| list.networks.contains(std::net::Ipv4Addr::from(n * 40_000).into()));
        assert_eq!(inside.count(), 100_000);
        assert!(!list.networks.contains([0, 0, 0, 1].into()));
    }
}
