#![expect(clippy::single_range_in_vec_init, reason = "spans are ranges, and here is often one of them")]

use proptest::prelude::*;

use super::*;

fn errors(text: &str, spans: &[Range<usize>]) -> Errors {
    let mut findings = Findings::default();
    for (number, span) in spans.iter().enumerate() {
        findings.push(Found { span: span.clone(), message: format!("wrong {number}"), help: Some("do it".to_owned()) });
    }
    Errors::new("netd.toml", text, findings)
}

#[test]
fn shows_the_line_and_underlines_the_place() {
    let text = "[workers]\ncount = 900\n";
    let expected = "\
error: wrong 0
 --> netd.toml:2:9
  |
2 | count = 900
  |         ^^^
  |
  = help: do it";
    assert_eq!(errors(text, &[18..21]).to_string(), expected);
}

#[test]
fn comes_in_the_order_of_the_text() {
    let errors = errors("a\nb\nc\n", &[4..5, 0..1, 2..3]);
    let places: Vec<_> = errors.problems().iter().map(|p| (p.line, p.column, p.message.as_str())).collect();
    assert_eq!(places, [(1, 1, "wrong 1"), (2, 1, "wrong 2"), (3, 1, "wrong 0")]);
}

#[test]
fn counts_columns_in_characters() {
    let text = "é日 = x";
    let errors = errors(text, &[8..9]);
    assert_eq!((errors.problems()[0].line, errors.problems()[0].column), (1, 6));
    assert!(errors.to_string().contains("1 | é日 = x\n  |       ^\n"), "{errors}");
}

#[test]
fn survives_tabs_and_carriage_returns() {
    let shown = errors("a\r\n\tkey\t= 1\r\n", &[4..7]).to_string();
    assert!(shown.contains("--> netd.toml:2:2\n"), "{shown}");
    assert!(shown.contains("2 |     key    = 1\n  |     ^^^\n"), "{shown}");
    assert!(!shown.contains('\r'), "{shown}");
}

#[test]
fn an_empty_text_has_a_first_line() {
    let errors = errors("", &[0..0]);
    assert_eq!((errors.problems()[0].line, errors.problems()[0].column), (1, 1));
    assert!(errors.to_string().starts_with("error: wrong 0\n --> netd.toml:1:1\n"), "{errors}");
}

#[test]
fn long_lines_are_cut_around_the_place() {
    let text = format!("text = \"{}\" oops {}", "é".repeat(5000), "b".repeat(5000));
    let at = text.find("oops").unwrap();
    for (span, expected, column) in [(at..at + 4, "oops", 5011), (0..4, "text = ", 1), (7..at, "ééé", 8)] {
        let shown = errors(&text, &[span]).to_string();
        assert!(shown.contains(&format!("netd.toml:1:{column}\n")), "{shown}");
        assert!(shown.contains(expected) && shown.contains("..."), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 160), "{shown}");
    }
}

#[test]
fn a_span_of_several_lines_is_underlined_on_its_first() {
    let shown = errors("a = [\n1,\n2]\n", &[4..11]).to_string();
    assert!(shown.contains("1 | a = [\n  |     ^\n"), "{shown}");
}

#[test]
fn shows_fifty_and_counts_the_rest() {
    let text = "x\n".repeat(3000);
    let spans: Vec<_> = (0..1200).map(|line| line * 2..line * 2 + 1).collect();
    let errors = errors(&text, &spans);
    let shown = errors.to_string();
    assert_eq!(shown.matches("error: ").count(), Errors::MAX_SHOWN);
    assert!(shown.ends_with("\n\nand 1150 more"), "{shown}");
    assert_eq!((errors.problems().len(), errors.count()), (1000, 1200));
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let shown = errors("a = \u{1b}[31m\u{7}", &[4..9]).to_string();
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
}

proptest! {
    #[test]
    fn any_span_of_any_text_can_be_shown(text in "(?s).{0,80}", start in 0..400_usize, length in 0..400_usize) {
        let errors = errors(&text, &[start..start.saturating_add(length)]);
        let problem = &errors.problems()[0];
        prop_assert!(problem.line >= 1 && problem.column >= 1);
        prop_assert!(errors.to_string().starts_with("error: wrong 0\n"));
    }
}
