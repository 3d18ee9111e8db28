//! Health checks of pools whose endpoints want PROXY headers.

use std::time::Duration;

use super::{TRUSTING, behind, closed};
use crate::support::{
    Daemon, Origin,
    clock::{now, pause},
    eventually,
};

fn standing(daemon: &Daemon) -> String {
    daemon.endpoint("back", 0)["health"]["standing"].as_str().unwrap_or_default().to_owned()
}

/// Connections that did not begin with a whole header.
fn refused(strict: &Daemon) -> f64 {
    ["malformed", "timeout", "end", "reset"].iter().map(|cause| closed(strict, cause)).sum()
}

/// The endpoint is a netd that closes whoever does not begin with a header, and
/// behind it a server that answers a check of its kind.
#[test]
fn an_endpoint_that_wants_a_header_is_healthy() {
    let origin = Origin::saying("HTTP/1.1 200 OK\r\n\r\n");
    let strict = behind(TRUSTING, "", origin.address);
    for version in ["v1", "v2"] {
        for kind in ["kind = \"tcp\"", "kind = \"http\""] {
            let (trust, before) = (format!("send_proxy = \"{version}\"\n"), refused(&strict));
            let health = format!("[pool.health]\n{kind}\ninterval = \"100ms\"\nfall = 1");
            let daemon = behind("", &(trust + &health), strict.address("front"));
            eventually("it is healthy", || (standing(&daemon) == "healthy").then_some(()));
            // Also with the checks that follow.
            let until = now() + Duration::from_millis(500);
            while now() < until {
                assert_eq!(standing(&daemon), "healthy");
                pause(Duration::from_millis(50));
            }
            assert_eq!(refused(&strict), before, "no check was malformed");
        }
    }
}

#[test]
fn without_a_header_it_is_not() {
    let origin = Origin::saying("HTTP/1.1 200 OK\r\n\r\n");
    let strict = behind(TRUSTING, "", origin.address);
    let daemon = behind("", "[pool.health]\nkind = \"http\"\ninterval = \"100ms\"", strict.address("front"));
    eventually("it is unhealthy", || (standing(&daemon) == "unhealthy").then_some(()));
    assert!(refused(&strict) > 0.0);
}
