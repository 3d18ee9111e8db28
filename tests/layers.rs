//! The law of the house (the layer table of `src/lib.rs`) and its budgets. Each
//! rule is shown to bite on a snippet that breaks it.

#[path = "layers/rules.rs"]
mod rules;
#[path = "layers/source.rs"]
mod source;

use rules::Breach;
use source::Source;

/// Fails with one line a breach: where, and what the law says.
fn hold(breaches: Vec<Breach>) {
    let lines: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} breaches:\n{}", lines.len(), lines.join("\n"));
}

fn house() -> Vec<Source> {
    source::tree(&["src"])
}

fn everything() -> Vec<Source> {
    source::tree(&["src", "tests", "benches", "fuzz"])
}

fn each(sources: &[Source], rule: fn(&Source) -> Vec<Breach>) -> Vec<Breach> {
    sources.iter().flat_map(rule).collect()
}

#[test]
fn every_room_is_in_the_law() {
    hold(rules::unknown_rooms(&house()));
}

#[test]
fn rooms_import_only_what_they_may() {
    hold(each(&house(), rules::imports));
}

#[test]
fn no_room_imports_itself_in_a_ring() {
    hold(rules::rings(&house()));
}

#[test]
fn forbidden_words_stay_out() {
    hold(each(&house(), rules::words));
}

#[test]
fn unsafe_lives_in_sys() {
    hold(each(&house(), rules::unsafe_code));
}

#[test]
fn lints_are_expected_with_a_reason_not_allowed() {
    hold(each(&everything(), rules::lints));
}

#[test]
fn nothing_is_left_to_do() {
    hold(each(&everything(), rules::unfinished));
}

#[test]
fn files_and_functions_are_within_budget() {
    hold(each(&everything(), rules::budgets));
}

#[test]
fn the_map_holds_no_items() {
    hold(each(&house(), rules::map));
}

/// Each rule bites, and only there.
mod proof {
    use super::{
        Source, rules,
        source::{blank, paths, test_modules, without_test_modules},
    };

    fn at(path: &str, text: &str) -> Source {
        Source::new(path, text)
    }

    /// The rule finds something on these lines of the snippet and nowhere else.
    #[track_caller]
    fn bites(rule: fn(&Source) -> Vec<rules::Breach>, path: &str, text: &str, lines: &[usize]) {
        let found: Vec<usize> = rule(&at(path, text)).iter().map(|breach| breach.line).collect();
        assert_eq!(found, lines, "{path}:\n{text}");
    }

    #[test]
    fn imports_in_every_spelling() {
        bites(rules::imports, "src/config/file.rs", "use crate::worker::Handle;\n", &[1]);
        bites(rules::imports, "src/config/file.rs", "use crate::{\n    wire::Wire,\n    sys,\n};\n", &[3]);
        bites(rules::imports, "src/config/file.rs", "fn f() {\n    crate::sys::x();\n}\n", &[2]);
        bites(rules::imports, "src/config/file.rs", "use super::super::pb;\n", &[1]);
        bites(rules::imports, "src/config/mod.rs", "use super::pb;\n", &[1]);
        bites(rules::imports, "src/listen.rs", "use super::config::Address;\n", &[1]);
        bites(rules::imports, "src/admin/server.rs", "use crate::process::notify;\n", &[1]);
        bites(rules::imports, "src/worker/run.rs", "use crate::process::limits;\n", &[1]);
        bites(rules::imports, "src/control/state.rs", "use crate::pb;\n", &[1]);
        bites(rules::imports, "src/handover/line.rs", "use crate::reactor::Turn;\n", &[1]);
        bites(rules::imports, "src/admin/server.rs", "use crate::handover::Offer;\n", &[1]);
    }

    #[test]
    fn lawful_imports() {
        bites(rules::imports, "src/config/file.rs", "use super::{check, pb};\nuse crate::config::sys;\n", &[]);
        bites(rules::imports, "src/protocol/echo.rs", "use crate::wire::Wire;\n", &[]);
        bites(rules::imports, "src/handover/line.rs", "use crate::{pb, process, sys::channel, worker::Parcel};\n", &[]);
        bites(rules::imports, "src/daemon.rs", "use crate::{admin, control, logging, worker};\n", &[]);
        bites(rules::imports, "src/config/a.rs", "// use crate::sys\nconst A: &str = \"crate::sys\";\n", &[]);
        let tests = "use crate::wire;\n\n#[cfg(test)]\nmod tests {\n    use crate::worker;\n}\n";
        bites(rules::imports, "src/config/a.rs", tests, &[]);
    }

    #[test]
    fn a_ring_of_rooms() {
        let ring = [at("src/reactor/mod.rs", "use crate::time;"), at("src/time/mod.rs", "use crate::reactor;")];
        let found = rules::rings(&ring);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().contains("reactor -> time -> reactor"), "{}", found[0]);
        assert!(rules::rings(&ring[..1]).is_empty());
    }

    #[test]
    fn a_room_without_a_law() {
        assert_eq!(rules::unknown_rooms(&[at("src/utils/mod.rs", "")]).len(), 1);
        assert!(rules::unknown_rooms(&[at("src/bin/netd.rs", ""), at("src/slots.rs", "")]).is_empty());
    }

    #[test]
    fn words_of_the_logic_layer() {
        for text in [
            "use mio::Poll;",
            "use tokio::sync;",
            "use std::net::{IpAddr, TcpStream};",
            "use std::os::unix::net::UnixListener;",
            "fn f() { std::time::Instant::now(); }",
            "use std::{env, fmt};",
            "use std::thread;",
            "use std::sync::{Arc, Mutex};",
            "use std::sync::RwLock;",
            "fn f() { tracing::info!(); }",
            "use std::sync::atomic::AtomicU64;",
            "use std::{fs::File, fmt};",
        ] {
            bites(rules::words, "src/balance/mod.rs", text, &[1]);
        }
        bites(rules::words, "src/metrics/counter.rs", "use std::sync::atomic::AtomicU64;", &[]);
        bites(rules::words, "src/config/types.rs", "use std::net::{SocketAddr, IpAddr};\n", &[]);
        bites(rules::words, "src/config/types.rs", "fn f(now: Instant) { env!(\"A\"); }\n", &[]);
    }

    #[test]
    fn words_of_other_rooms() {
        bites(rules::words, "src/worker/run.rs", "use tokio::net;\n", &[1]);
        bites(rules::words, "src/control/handle.rs", "use tokio::sync::mpsc;\nuse tonic::Status;\n", &[2]);
        bites(rules::words, "src/handover/line.rs", "use tokio::time;\nuse tonic::Status;\n", &[2]);
        bites(rules::words, "src/reactor/mod.rs", "use mio::Poll;\n", &[]);
    }

    #[test]
    fn unsafe_outside_sys() {
        bites(rules::unsafe_code, "src/worker/conn.rs", "fn f() {\n    unsafe { g() }\n}\n", &[2]);
        bites(rules::unsafe_code, "src/worker/conn.rs", "unsafe impl Send for X {}\n", &[1]);
        bites(rules::unsafe_code, "src/sys/socket.rs", "unsafe fn f() {}\n", &[]);
        bites(rules::unsafe_code, "src/worker/conn.rs", "#[expect(unsafe_code)] // unsafe\n", &[]);
    }

    #[test]
    fn allowed_lints() {
        bites(rules::lints, "src/a.rs", "#[allow(dead_code)]\nfn f() {}\n", &[1]);
        bites(rules::lints, "src/a.rs", "#![allow(dead_code)]\n", &[1]);
        bites(rules::lints, "src/a.rs", "#[cfg_attr(test, allow(dead_code))]\n", &[1]);
        bites(rules::lints, "src/a.rs", "\n#[expect(dead_code)]\n", &[2]);
        bites(rules::lints, "src/a.rs", "#[expect(\n    dead_code,\n    reason = \"it is\"\n)]\n", &[]);
    }

    #[test]
    fn unfinished_work() {
        bites(rules::unfinished, "src/a.rs", "fn f() {\n    todo!()\n}\n", &[2]);
        bites(rules::unfinished, "src/a.rs", "fn f() { unimplemented!(\"x\") }\n", &[1]);
        bites(rules::unfinished, "src/a.rs", "#[ignore]\n#[test]\nfn f() {}\n", &[1]);
        bites(rules::unfinished, "src/a.rs", "#[ignore = \"needs a second machine\"]\n// todo!()\n", &[]);
    }

    #[test]
    fn long_files_and_functions() {
        let line = "const A: u8 = 0;\n";
        bites(rules::budgets, "src/a.rs", &line.repeat(600), &[]);
        bites(rules::budgets, "src/a.rs", &line.repeat(601), &[601]);
        bites(rules::budgets, "src/a.rs", &("\n// a\n/// b\n".repeat(300) + &line.repeat(600)), &[]);
        let function =
            |lines: usize| format!("    pub(crate) async fn f() {{\n{}    }}\n", "        g();\n".repeat(lines));
        bites(rules::budgets, "src/a.rs", &function(78), &[]);
        bites(rules::budgets, "src/a.rs", &format!("\n{}", function(79)), &[2]);
        bites(rules::budgets, "src/a.rs", &format!("fn f();\nfn g() {{}}\n{}", line.repeat(100)), &[]);
    }

    #[test]
    fn items_in_the_map() {
        bites(rules::map, "src/lib.rs", "//! Doc.\n\n// layer 0\npub mod a;\npub use a::B;\n", &[5]);
        bites(rules::map, "src/a.rs", "pub use b::C;\n", &[]);
    }

    #[test]
    fn comments_strings_and_characters_are_blanked() {
        let text = "a(\"x \\\" y\", 'q', '\\'', r#\"z \" z\"#, b'\"', br\"k\") /* u /* v */ w */ + b // t\n'a: r#in";
        let code = blank(text);
        assert_eq!(code.len(), text.len());
        let left: String = code.split_whitespace().collect();
        assert!(!code.contains(['x', 'y', 'q', 'z', 'u', 'v', 'w', 't', 'k']), "{left}");
        assert!(left.ends_with("+b'a:r#in"), "{left}");
    }

    #[test]
    fn use_trees_are_flattened() {
        let found = paths("use a::{\n    b::{C, d},\n    *,\n    self,\n};\nlet x: e::F = g::<h::I>();");
        let text: Vec<String> =
            found.iter().map(|named| format!("{}:{}", named.line, named.segments.join("::"))).collect();
        for expected in ["2:a::b::C", "2:a::b::d", "4:a::self", "6:e::F", "6:h::I"] {
            assert!(text.iter().any(|each| each == expected), "{expected} is not in {text:?}");
        }
    }

    #[test]
    fn test_modules_are_known() {
        let code =
            "#[cfg(test)]\nmod tests;\n#[cfg(test)]\npub(crate) mod testing;\nmod a;\n#[cfg(test)]\nmod b {\n}\n";
        assert_eq!(test_modules(code).collect::<Vec<_>>(), ["tests", "testing"]);
        let left = without_test_modules("early\n#[cfg(test)]\nmod b {\n    inside\n}\nlate\n");
        assert!(left.contains("early") && left.contains("late") && !left.contains("inside"), "{left}");
    }
}
