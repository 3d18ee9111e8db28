//! Which daemon to talk to.

use std::{net::Ipv4Addr, os::unix::fs::MetadataExt, path::PathBuf};

use crate::config::Address;

use super::{exit::Failure, surroundings::Surroundings};

/// Reads `unix:PATH`, `http://ADDRESS:PORT`, `ADDRESS:PORT` or
/// `localhost:PORT`. The error says what would be right.
pub(crate) fn parse(text: &str) -> Result<Address, String> {
    if text.starts_with("https://") {
        return Err(format!("netd's admin API has no TLS: write `http{}`", &text["https".len()..]));
    }
    let Some(authority) = text.strip_prefix("http://") else {
        return local(text).parse();
    };
    match local(authority.trim_end_matches('/')).parse()? {
        Address::Unix(path) => Err(format!("for a Unix socket write `unix:{}` without `http://`", path.display())),
        address @ Address::Inet(_) => Ok(address),
    }
}

/// The address to use: the one asked for, that of `$NETD_ADMIN`, else the first
/// of netd's usual places that applies.
///
/// # Errors
/// [`Failure::Usage`] if the variable holds no address.
/// [`Failure::Unreachable`] if the last resort, a directory in `/tmp`, belongs
/// to somebody else: who listens there is not this user's netd.
pub(crate) fn find(asked: Option<&Address>, around: &Surroundings) -> Result<Address, Failure> {
    if let Some(address) = asked {
        return Ok(address.clone());
    }
    if let Some(text) = &around.admin {
        return parse(text).map_err(|error| Failure::Usage(format!("NETD_ADMIN: {error}")));
    }
    // A directory that may not be searched hides a socket that is there: try it, and so tell the true reason.
    // Root's netd has it nowhere else.
    if around.uid == 0 || around.system_socket.try_exists().unwrap_or(true) {
        return Ok(Address::Unix(around.system_socket.clone()));
    }
    if let Some(directory) = &around.runtime_dir {
        return Ok(Address::Unix(directory.join("netd/admin.sock")));
    }
    let directory = PathBuf::from(format!("/tmp/netd-{}", around.uid));
    match directory.symlink_metadata() {
        Ok(metadata) if metadata.uid() != around.uid => Err(Failure::Unreachable(format!(
            "{} belongs to another user (uid {}), so netd's socket is not looked for there; name it with --admin",
            directory.display(),
            metadata.uid()
        ))),
        _ => Ok(Address::Unix(directory.join("admin.sock"))),
    }
}

/// The admin API is served on loopback addresses only, so the usual name of
/// the loopback needs no resolver.
fn local(text: &str) -> String {
    match text.strip_prefix("localhost:") {
        Some(port) => format!("{}:{port}", Ipv4Addr::LOCALHOST),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn around(system_socket: PathBuf, runtime_dir: Option<&str>) -> Surroundings {
        Surroundings {
            admin: None,
            user: "anna".to_owned(),
            // Nobody has this id, nor a directory in /tmp.
            uid: 4_294_000_123,
            system_socket,
            runtime_dir: runtime_dir.map(PathBuf::from),
            terminal_width: None,
            colour: false,
            clock: || SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn reads_every_documented_form() {
        for (text, expected) in [
            ("unix:/run/x.sock", "unix:/run/x.sock"),
            ("http://127.0.0.1:9000", "127.0.0.1:9000"),
            ("http://[::1]:9000/", "[::1]:9000"),
            ("127.0.0.1:9000", "127.0.0.1:9000"),
            ("localhost:9000", "127.0.0.1:9000"),
            ("http://localhost:9000", "127.0.0.1:9000"),
        ] {
            assert_eq!(parse(text).map(|address| address.to_string()), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn says_what_would_be_right() {
        for (text, expected) in [
            ("/run/x.sock", "for a Unix socket write `unix:/run/x.sock`"),
            ("http://unix:/run/x.sock", "for a Unix socket write `unix:/run/x.sock` without `http://`"),
            ("https://127.0.0.1:1", "netd's admin API has no TLS: write `http://127.0.0.1:1`"),
            ("127.0.0.1", "`127.0.0.1` has no port: write `127.0.0.1:8080`"),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()));
        }
    }

    #[test]
    fn looks_in_the_usual_places_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let present = directory.path().join("admin.sock");
        std::fs::write(&present, "").unwrap();
        let absent = directory.path().join("absent.sock");

        let asked = Address::Unix(PathBuf::from("/asked"));
        let found = |asked: Option<&Address>, around: &Surroundings| find(asked, around).unwrap().to_string();
        let everything = around(present.clone(), Some("/run/user/1000"));
        assert_eq!(found(Some(&asked), &everything), "unix:/asked");
        assert_eq!(found(None, &everything), format!("unix:{}", present.display()));
        assert_eq!(found(None, &around(absent.clone(), Some("/run/user/1000"))), "unix:/run/user/1000/netd/admin.sock");
        let variable = |text: &str| Surroundings { admin: Some(text.to_owned()), ..around(present.clone(), None) };
        assert_eq!(found(None, &variable("localhost:1")), "127.0.0.1:1");
        assert_eq!(found(Some(&asked), &variable("localhost:1")), "unix:/asked");
        assert!(find(None, &variable("/x")).unwrap_err().message().starts_with("NETD_ADMIN: for a Unix socket"));
        assert_eq!(found(None, &around(absent, None)), "unix:/tmp/netd-4294000123/admin.sock");
    }
}
