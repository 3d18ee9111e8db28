//! The configuration as a user gives it: files, flags, variables.

use std::{fs, process::Command};

use crate::support::{Client, End, Finished, Origin, Setup, pattern::Pattern};

fn netd(args: &[&str]) -> Finished {
    Finished::run(Command::new(env!("CARGO_BIN_EXE_netd")).args(args))
}

/// `netd --check` of this file.
fn check(bytes: &[u8]) -> Finished {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("netd.toml");
    fs::write(&path, bytes).expect("a file to write");
    netd(&["--check", "--config", path.to_str().expect("UTF-8")])
}

const GOOD: &str = r#"
    [[listener]]
    name = "web"
    address = "127.0.0.1:8080"
    protocol = "tcp"
    pool = "app"

    [[pool]]
    name = "app"
    endpoints = ["127.0.0.1:9000", "127.0.0.1:9001"]
"#;

#[test]
fn a_good_file_is_said_to_be_good() {
    check(GOOD.as_bytes()).ended_with(0).said("netd.toml is valid: 1 listener, 1 pool, 2 endpoints");
}

#[test]
fn all_errors_of_a_file_are_told_at_once_with_their_lines() {
    let bad = "\
[drain]
timeout = 30

[[listener]]
name = \"web\"
address = \"127.0.0.1\"
protocol = \"tcp\"
pool = \"ap\"
colour = \"red\"

[[listener]]
name = \"web\"
address = \"127.0.0.1:99999\"
protocol = \"http\"

[[pool]]
name = \"app\"
endpoints = []
";
    let said = check(bad.as_bytes()).ended_with(78);
    for (line, about) in [(2, "30"), (6, "port"), (8, "ap"), (9, "colour"), (13, "99999"), (14, "http")] {
        let place = format!("netd.toml:{line}:");
        assert!(said.stderr.contains(&place), "line {line} is not told\n{}", said.story());
        assert!(said.stderr.contains(about), "`{about}` is not told\n{}", said.story());
    }
    assert!(said.stderr.contains("colour = \"red\""), "the line is not shown\n{}", said.story());
}

#[test]
fn a_bad_file_does_not_start() {
    let said = Setup::config("[[listener]]\nname = \"web\"\n").run().ended_with(78);
    assert!(said.stderr.starts_with("netd: ") && said.stderr.contains("netd.toml:"), "{}", said.story());
}

#[test]
fn a_missing_file_is_named() {
    netd(&["--check", "--config", "/nonexistent/netd.toml"]).ended_with(78).complained("/nonexistent/netd.toml");
}

#[test]
fn bytes_of_any_kind_are_answered_in_order() {
    for seed in 0..40 {
        let mut bytes = Pattern::new(seed).bytes(50 * seed as usize);
        if seed % 2 == 0 {
            // Nearly right: one place of a good file is spoilt.
            let place = bytes.iter().map(|&byte| usize::from(byte)).sum::<usize>() % GOOD.len();
            let spoilt = [&GOOD.as_bytes()[..place], &bytes[..bytes.len().min(5)], &GOOD.as_bytes()[place..]];
            bytes = spoilt.concat();
        }
        let said = check(&bytes);
        assert!(matches!(said.code(), Some(0 | 78)), "seed {seed}\n{}", said.story());
        if said.code() == Some(78) {
            assert!(!said.stderr.trim().is_empty(), "seed {seed}: no reason is told");
        }
    }
}

#[test]
fn the_effective_configuration_is_printed_and_is_a_file_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("netd.toml");
    let path_text = path.to_str().expect("UTF-8");
    fs::write(&path, GOOD).expect("a file to write");
    let first = netd(&["--print-config", "--config", path_text, "--workers", "3", "--metrics", "off"]).ended_with(0);
    for told in ["idle_timeout", "connect_timeout", "count = 3", "\"off\""] {
        assert!(first.stdout.contains(told), "`{told}` is not printed\n{}", first.story());
    }
    fs::write(&path, &first.stdout).expect("a file to write");
    let second = netd(&["--print-config", "--config", path_text]).ended_with(0);
    assert_eq!(first.stdout, second.stdout);
}

#[test]
fn one_line_serves_without_a_file() {
    let [a, b] = ["a", "b"].map(Origin::saying);
    let [to_a, to_b] = [&a, &b].map(|origin| origin.address.to_string());
    let daemon =
        Setup::flags(&["--listen", "127.0.0.1:0", "--upstream", &to_a, "--upstream", &to_b, "--workers", "1"]).start();
    let mut said: Vec<_> = (0..4).map(|_| daemon.connect("listen-1").rest()).collect();
    said.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(said, ["a", "a", "b", "b"].map(|text| (text.as_bytes().to_vec(), End::Eof)));

    let daemon = Setup::flags(&["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--protocol", "echo"]).start();
    daemon.connect("listen-1").echo(b"first");
    daemon.connect("listen-2").echo(b"second");
}

#[test]
fn wrong_flags_say_what_would_be_right() {
    netd(&["--check", "--listen", "127.0.0.1:0"]).ended_with(78).complained("--upstream");
    netd(&["--check", "--upstream", "127.0.0.1:9000"]).ended_with(78).complained("--listen");
    netd(&["--check", "--listen", "127.0.0.1:0", "--protocol", "ehco"]).ended_with(78).complained("echo");
    netd(&["--listen", "localhost:80", "--protocol", "echo"]).ended_with(2).complained("host name");
    netd(&["--chekc"]).ended_with(2).complained("--check");
}

#[test]
fn an_admin_address_that_everybody_reaches_is_refused() {
    let said = check(format!("[admin]\ntcp = \"0.0.0.0:9465\"\n{GOOD}").as_bytes()).ended_with(78);
    assert!(said.stderr.contains("loopback"), "{}", said.story());
}

#[test]
fn variables_are_filled_in() {
    let text = r#"
        [[listener]]
        name = "text"
        address = "${NETD_TEST_HOST:-127.0.0.1}:0"
        protocol = "respond"
        text = "${NETD_TEST_TEXT}"
    "#;
    let daemon = Setup::config(text).env("NETD_TEST_TEXT", "from outside").start();
    assert_eq!(Client::connect(daemon.address("text")).rest().0, b"from outside");

    let said = Setup::config(text).run().ended_with(78);
    assert!(said.stderr.contains("NETD_TEST_TEXT"), "{}", said.story());
}

#[test]
fn a_listener_that_leads_back_to_itself_is_refused() {
    let flags = ["--check", "--listen", "0.0.0.0:8180", "--upstream", "127.0.0.1:8180"];
    netd(&flags).ended_with(78).complained("would relay to itself");
    let dual = "v6only = false\n[[pool]]\nname = \"app\"\nendpoints = [\"127.0.0.1:8500\"]\n";
    let text = "[[listener]]\nname = \"web\"\naddress = \"[::]:8500\"\nprotocol = \"tcp\"\npool = \"app\"\n";
    check(format!("{text}{dual}").as_bytes()).ended_with(78).complained("would relay to itself");
}

#[test]
fn a_configuration_that_serves_nothing_is_warned_of() {
    check(b"").ended_with(0).said("0 listeners").complained("no [[listener]]");
    Setup::config("").start().logs("no [[listener]]");
}

#[test]
fn the_exit_statuses_are_in_the_help() {
    let help = netd(&["--help"]).ended_with(0);
    for status in ["   0  ", "   1  ", "   2  ", "   3  ", "   4  ", "  78  "] {
        assert!(help.stdout.lines().any(|line| line.starts_with(status)), "{status}\n{}", help.story());
    }
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound socket").to_string();
    let said = Setup::flags(&["--listen", &address, "--protocol", "echo"]).run().ended_with(1);
    assert!(said.stderr.contains(&address) && said.stderr.contains("in use"), "{}", said.story());
}
