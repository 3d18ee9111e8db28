//! The kernel's own figures of lost and refused connections.

use std::fs;

/// Figures that are read, by file and group.
const WANTED: [(&str, &[&str]); 2] = [
    ("TcpExt", &["ListenDrops", "ListenOverflows", "TCPMigrateReqSuccess", "TCPMigrateReqFailure"]),
    ("Tcp", &["OutRsts", "AttemptFails", "EstabResets"]),
];

/// By name; those that this kernel does not know, or that cannot be read, are
/// left out. They are of the whole network namespace.
pub fn counters() -> Vec<(String, u64)> {
    let files = ["/proc/net/netstat", "/proc/net/snmp"];
    files.iter().filter_map(|path| fs::read_to_string(path).ok()).flat_map(|text| parse(&text)).collect()
}

/// Pairs of lines: `Group: name name`, `Group: value value`.
fn parse(text: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((group, names)), Some((other, values))) = (names.split_once(':'), values.split_once(':')) else {
            continue;
        };
        let Some((_, wanted)) = WANTED.iter().find(|(name, _)| *name == group && group == other) else { continue };
        let pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
        found.extend(
            pairs
                .filter(|(name, _)| wanted.contains(name))
                .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_files_are_read_as_proc_writes_them() {
        let netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPMigrateReqSuccess\nTcpExt: 0 7 8 9\n\
                       IpExt: InNoRoutes ListenDrops\nIpExt: 4 5\n";
        let expected = [("ListenOverflows", 7), ("ListenDrops", 8), ("TCPMigrateReqSuccess", 9)];
        assert_eq!(parse(netstat), expected.map(|(name, value)| (name.to_owned(), value)));
        let snmp = "Tcp: MaxConn AttemptFails EstabResets OutRsts\nTcp: -1 3 2 1\n";
        assert_eq!(parse(snmp).len(), 3);
    }

    #[test]
    fn what_is_missing_or_no_number_is_left_out() {
        assert!(parse("").is_empty());
        assert!(parse("TcpExt: ListenDrops\n").is_empty());
        assert!(parse("TcpExt: ListenDrops\nTcpExt:\n").is_empty());
        assert!(parse("TcpExt: ListenDrops\nTcpExt: -1\n").is_empty());
    }

    #[test]
    fn this_kernel_counts_drops_and_resets() {
        let names: Vec<String> = counters().into_iter().map(|(name, _)| name).collect();
        for name in ["ListenDrops", "ListenOverflows", "OutRsts", "AttemptFails"] {
            assert!(names.iter().any(|each| each == name), "{name} is not in {names:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(text in "(TcpExt|Tcp|:| |ListenDrops|[0-9]|\n)*") {
            let _ = parse(&text);
        }
    }
}
