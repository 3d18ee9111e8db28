//! Objects as written on the command line.

use crate::pb::{self, target::Of};

use super::exit::Failure;

/// What a drain or undrain is about: no word for the whole daemon, else
/// `listener NAME`, `pool NAME`, `endpoint POOL ADDRESS`, `worker INDEX`, or the
/// one-word forms that listings and `why` use (`endpoint/POOL/ADDRESS`).
pub(crate) fn target(words: &[String]) -> Result<pb::Target, Failure> {
    let words: Vec<&str> = match words {
        // An endpoint's address may have slashes of its own (`unix:/run/db.sock`).
        [one] if one.contains('/') => one.splitn(if one.starts_with("endpoint/") { 3 } else { 2 }, '/').collect(),
        several => several.iter().map(String::as_str).collect(),
    };
    let of = match words.as_slice() {
        [] | ["daemon"] => Of::Daemon(true),
        ["listener", name] => Of::Listener((*name).to_owned()),
        ["pool", name] => Of::Pool((*name).to_owned()),
        ["endpoint", pool, address] => Of::Endpoint(endpoint(pool, address)),
        ["worker", index] => Of::Worker(worker(index)?),
        _ => {
            return Err(Failure::Usage(format!(
                "`{}` is no target; write `listener NAME`, `pool NAME`, `endpoint POOL ADDRESS`, `worker INDEX`, or \
                 nothing for the whole daemon",
                words.join(" ")
            )));
        }
    };
    Ok(pb::Target { of: Some(of) })
}

/// An endpoint by its pool and address.
pub(crate) fn endpoint(pool: &str, address: &str) -> pb::EndpointName {
    pb::EndpointName { pool: bare(pool, "pool/"), address: address.to_owned() }
}

/// What is to be checked: `POOL`, `POOL/ENDPOINT`, or either with its kind in
/// front, as listings write it.
pub(crate) fn checked(text: &str) -> pb::CheckRequest {
    let bare = text.strip_prefix("endpoint/").or_else(|| text.strip_prefix("pool/")).unwrap_or(text);
    let (pool, endpoint) = bare.split_once('/').unwrap_or((bare, ""));
    pb::CheckRequest { pool: pool.to_owned(), endpoint: endpoint.to_owned() }
}

/// What `start` brings back.
pub(crate) enum Stopped {
    /// A listener by name.
    Listener(String),
    /// A worker.
    Worker(pb::Target),
}

/// `NAME`, `listener NAME`, `worker INDEX`, or one word with the kind in front.
pub(crate) fn stopped(words: &[String]) -> Result<Stopped, Failure> {
    let words: Vec<&str> = match words {
        [one] if one.starts_with("worker/") => one.splitn(2, '/').collect(),
        several => several.iter().map(String::as_str).collect(),
    };
    match words.as_slice() {
        [name] | ["listener", name] => Ok(Stopped::Listener(bare(name, "listener/"))),
        ["worker", index] => Ok(Stopped::Worker(pb::Target { of: Some(Of::Worker(worker(index)?)) })),
        _ => Err(Failure::Usage(format!(
            "`{}` cannot be started; write the name of a listener, or `worker INDEX`",
            words.join(" ")
        ))),
    }
}

fn worker(index: &str) -> Result<u32, Failure> {
    index
        .parse()
        .map_err(|_| Failure::Usage(format!("`{index}` is no worker; write its number, as `netctl status` shows it")))
}

/// A name, also if it was copied from a listing with its kind in front.
pub(crate) fn bare(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

/// The target's name in sentences.
pub(crate) fn name(target: &pb::Target) -> String {
    match &target.of {
        Some(Of::Listener(name)) => format!("listener/{name}"),
        Some(Of::Pool(name)) => format!("pool/{name}"),
        Some(Of::Endpoint(endpoint)) => format!("endpoint/{}/{}", endpoint.pool, endpoint.address),
        Some(Of::Worker(index)) => format!("worker/{index}"),
        Some(Of::Daemon(_)) | None => "netd".to_owned(),
    }
}

/// The command that takes a drain of the target back.
pub(crate) fn undrain_command(target: &pb::Target) -> String {
    match &target.of {
        Some(Of::Listener(name)) => format!("netctl undrain listener {name}"),
        Some(Of::Pool(name)) => format!("netctl undrain pool {name}"),
        Some(Of::Endpoint(endpoint)) => format!("netctl undrain endpoint {} {}", endpoint.pool, endpoint.address),
        Some(Of::Worker(index)) => format!("netctl start worker {index}"),
        Some(Of::Daemon(_)) | None => "netctl undrain".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        target(&words).map(|target| name(&target)).map_err(|failure| failure.message())
    }

    #[test]
    fn reads_words_and_object_names() {
        for (words, expected) in [
            (&[][..], "netd"),
            (&["daemon"], "netd"),
            (&["listener", "web"], "listener/web"),
            (&["listener/web"], "listener/web"),
            (&["worker", "1"], "worker/1"),
            (&["worker/0"], "worker/0"),
            (&["pool", "db"], "pool/db"),
            (&["pool/db"], "pool/db"),
            (&["endpoint", "db", "10.0.0.1:5432"], "endpoint/db/10.0.0.1:5432"),
            (&["endpoint/db/unix:/run/db.sock"], "endpoint/db/unix:/run/db.sock"),
        ] {
            assert_eq!(read(words), Ok(expected.to_owned()), "{words:?}");
        }
    }

    #[test]
    fn refuses_what_is_no_target() {
        for words in [&["web"][..], &["listener"], &["endpoint", "db"], &["queue/x"], &["listener", "a", "b"]] {
            let error = read(words).unwrap_err();
            assert!(error.contains("write `listener NAME`"), "{error}");
        }
    }

    #[test]
    fn a_worker_has_a_number() {
        assert!(read(&["worker", "one"]).unwrap_err().contains("`one` is no worker"));
        assert!(read(&["worker"]).is_err());
    }

    #[test]
    fn what_can_be_started() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            stopped(&words).ok().map(|stopped| match stopped {
                Stopped::Listener(name) => format!("listener {name}"),
                Stopped::Worker(target) => name(&target),
            })
        };
        for words in [&["web"][..], &["listener", "web"], &["listener/web"]] {
            assert_eq!(read(words).as_deref(), Some("listener web"));
        }
        assert_eq!(read(&["worker"]).as_deref(), Some("listener worker"), "a listener may be called so");
        assert_eq!(read(&["worker", "1"]).as_deref(), Some("worker/1"));
        assert_eq!(read(&["worker/1"]).as_deref(), Some("worker/1"));
        assert_eq!(read(&["worker", "x"]), None);
        assert_eq!(read(&["pool", "db"]), None);
    }

    #[test]
    fn names_the_way_back() {
        let target = target(&["endpoint/db/10.0.0.1:5432".to_owned()]).unwrap();
        assert_eq!(undrain_command(&target), "netctl undrain endpoint db 10.0.0.1:5432");
    }
}
