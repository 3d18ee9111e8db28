//! Syntax, substitution, and text that is no configuration at all.

use proptest::prelude::*;

use super::{assert_listener_problem, assert_problem, bad, env, good};
use crate::config::{Problem, Protocol, default::bare, parse, parse_bytes};

#[test]
fn all_problems_of_a_file_at_once() {
    let text = "[workers]\ncout = 2\npin = 1\n[log]\nlevel = \"loud\"\n[[pool]]\nname = \"p\"\nendpoints = [\"x\", \"127.0.0.1:0\"]\n[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:9464\"\nprotocol = \"tcp\"\npool = \"q\"\nbacklog = 0\n";
    let lines: Vec<_> = bad(text).problems().iter().map(|p| (p.line, p.column)).collect();
    assert_eq!(lines, [(2, 1), (3, 7), (5, 9), (8, 14), (8, 19), (11, 11), (13, 8), (14, 11)]);
}

#[test]
fn syntax_errors() {
    assert_problem(
        "[workers]\ncount = two\n",
        2,
        9,
        "`two` is no value",
        "text needs quotes, as in \"abc\"; numbers, `true` and `false` stand without",
    );
    assert_problem("[workers]\ncount =\n", 2, 8, "there is no value", "write one after `=`");
    assert_problem("[workers]\ncount = 1\ncount = 2\n", 3, 1, "duplicate key `count`", "write it once");
    assert_problem("[log]\n[log]\n", 2, 2, "duplicate key `log`", "write it once");
    let unclosed = bad("[workers\ncount = 1\n");
    assert_eq!((unclosed.problems()[0].line, unclosed.problems()[0].column), (1, 9));
    assert_eq!(unclosed.problems().len(), 1);
    let end = bad("[[pool]]\nendpoints = [\n  \"a\"\n\n\n");
    assert_eq!((end.problems()[0].line, end.problems()[0].column), (3, 6));
    let large = bad(&format!("{}a = ?\nb = ?\n", "# x\n".repeat(100_000)));
    assert_eq!(large.problems().iter().map(|p| (p.line, p.column)).collect::<Vec<_>>(), [(100_001, 5)]);
    let text = bad("[log]\nlevel = \"\"\"info\n");
    assert_eq!(text.problems()[0].line, 2);
}

#[test]
fn a_broken_line_does_not_hide_the_other_problems() {
    let text = "[workers]\ncount = two\n[[pool]]\nname = \"p\nendpoints = [\"127.0.0.1:0\"]\n[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nprotocol = \"tcp\"\npool = \"p\"\nbacklog = 0\n";
    let errors = bad(text);
    let places: Vec<_> = errors.problems().iter().map(|p| p.line).collect();
    // The pool's name is broken, so it is neither missing nor is line 10 wrong.
    assert_eq!(places, [2, 4, 5, 11], "{errors}");
}

#[test]
fn damage_beyond_a_line_is_told_once() {
    let errors = bad("[[pool]]\nname = \"p\"\nendpoints = [\"127.0.0.1:1\"\nretries = 1\n[[listener]]\nname = \"a\"\n");
    assert_eq!(errors.problems().iter().map(|p| p.line).collect::<Vec<_>>(), [4], "{errors}");
}

#[test]
fn substitution() {
    let text = "[workers]\ncount = \"${COUNT}\"\npin = \"${YES}\"\nbuffer_size = \"${SIZE:-8KiB}\"\n[[listener]]\nname = \"a-${COUNT}\"\naddress = \"127.0.0.1:${PORT}\"\nprotocol = \"respond\"\nbacklog = \"${BACKLOG:-7}\"\ntext = \"$${PORT} ${PORT}\" # ${NONE}\n";
    let config = good(text);
    assert_eq!((config.workers.count, config.workers.pin, config.workers.buffer_size), (Some(3), true, 8192));
    let listener = config.listener("a-3").unwrap();
    assert_eq!((listener.address.to_string().as_str(), listener.backlog), ("127.0.0.1:8080", 7));
    assert_eq!(listener.protocol, Protocol::Respond { text: (*b"${PORT} 8080").into() });
}

#[test]
fn substitution_cannot_write_toml() {
    let text = "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nprotocol = \"respond\"\ntext = \"${INJECT}\"\n";
    let expected = env("INJECT").unwrap();
    assert_eq!(good(text).listeners[0].protocol, Protocol::Respond { text: expected.as_bytes().into() });
}

#[test]
fn wrong_substitution() {
    assert_problem(
        "[log]\ntarget = \"file:/log/${NONE}\"",
        2,
        21,
        "`target`: environment variable `NONE` is not set",
        "set it, or give a default: `${NONE:-default}`",
    );
    assert_problem(
        "[log]\ntarget = \"${\"",
        2,
        11,
        "`target`: `${` without a closing `}`",
        "write `${VAR}` or `${VAR:-default}`; a literal `${` is written `$${`",
    );
    assert_problem(
        "[workers]\npin = \"${WORD}\"",
        2,
        7,
        "`pin`: `many` is neither true nor false",
        "the environment must give `true` or `false`",
    );
    assert_listener_problem(
        "backlog = \"${WORD}\"",
        11,
        "`backlog`: `many` is no whole number",
        "write a number from 1 to 65535",
    );
    assert_listener_problem(
        "backlog = \"1${COUNT}\"",
        11,
        "`backlog` must be a whole number, not a text in quotes",
        "write a number from 1 to 65535, without quotes",
    );
    assert_problem(
        "[drain]\ntimeout = \"${COUNT}\"",
        2,
        11,
        "`timeout`: the duration `3` has no unit: write `3s` for seconds",
        "",
    );
    assert_problem("[${NONE}]", 1, 2, "invalid unquoted key, expected letters, numbers, `-`, `_`", "");
}

#[test]
fn not_utf8() {
    let errors = parse_bytes("x", b"[log]\nlevel = \"d\xe9bug\"\n", &env).unwrap_err();
    let expected = Problem {
        line: 2,
        column: 11,
        message: "byte 0xe9 is not UTF-8".to_owned(),
        help: Some("save the file as UTF-8".to_owned()),
        span: 16..19,
    };
    assert_eq!(errors.problems(), [expected]);
    assert!(errors.to_string().contains("level = \"d\u{fffd}bug\""), "{errors}");
    assert_eq!(parse_bytes("x", b"", &env), Ok(bare()));
}

#[test]
fn the_errors_of_the_manual_are_true() {
    let manual = include_str!("../../../../docs/configuration.md");
    let (_, rest) = manual.split_once("<!-- a file with errors -->\n\n```toml\n").expect("the file of the manual");
    let (file, rest) = rest.split_once("```\n").expect("the end of the file");
    let (_, rest) = rest.split_once("```text\n").expect("the errors of the manual");
    let (shown, _) = rest.split_once("```\n").expect("the end of the errors");
    let errors = parse("/etc/netd/netd.toml", file, &|_| None).expect_err(file);
    assert_eq!(format!("{errors}\n"), shown);
}

#[test]
fn the_examples_of_the_manual_are_valid() {
    let manual = include_str!("../../../../docs/configuration.md");
    let blocks: Vec<_> = manual.split("\n\n```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 9, "{}", blocks.len());
    for block in blocks.into_iter().filter(|block| !block.contains("adress")) {
        let Err(errors) = parse("x", block, &env) else { continue };
        // Sections are shown one by one: a pool may be in another example.
        let other = |problem: &&Problem| problem.message != "there is no pool `postgres`";
        assert_eq!(errors.problems().iter().find(other), None, "{errors}");
    }
}

/// Pieces of configurations, so that random text gets beyond the lexer.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "[[listener]]\n",
            "[[pool]]\n",
            "[workers]\n",
            "[log]\n",
            "[",
            "]",
            "\n",
            "=",
            "\"",
            "'''",
            "\"\"\"",
            "{",
            "}",
            ",",
            "# ",
            "name",
            "address",
            "protocol",
            "pool",
            "endpoints",
            "weight",
            "count",
            "idle_timeout",
            "mode",
            "listener",
            "text",
            " = \"tcp\"\n",
            " = \"127.0.0.1:80\"\n",
            " = \"${X}\"\n",
            " = [\"127.0.0.1:80\"]\n",
            " = 0o666\n",
            " = \"1h\"\n",
            " = {",
            " = -1\n",
            "${",
            "$${",
            "}",
            "é",
            "\r\n",
            "\t",
            "\u{feff}",
            "\0",
            ".",
            " = 99999999999999999999\n",
            " = 1e999\n",
            " = nan\n",
            " = 1979-05-27\n",
        ])
        .prop_map(str::to_owned),
        "(?s).{0,4}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_bytes_give_a_configuration_or_errors(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(errors) = parse_bytes("x", &bytes, &|_| None) {
            prop_assert!(!errors.problems().is_empty());
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn random_text_gives_a_configuration_or_errors(text in pieces(), value in "(?s).{0,10}") {
        if let Err(errors) = parse("x", &text, &|_| Some(value.clone())) {
            prop_assert!(errors.problems().is_sorted_by_key(|problem| problem.span.start));
            prop_assert!(errors.to_string().starts_with("error: "));
        }
    }
}
