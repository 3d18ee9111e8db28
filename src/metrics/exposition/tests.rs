use proptest::prelude::*;

use super::*;
use crate::metrics::{Bounds, Family, HistogramSnapshot};

const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
     text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
     application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
     text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

fn families() -> Vec<MetricFamily> {
    let mut bytes = Family::counter("netd_listener_bytes_total", "Bytes\nmoved \\ by \"direction\".");
    bytes.count(&[("listener", "we\"b\\\n"), ("direction", "in")], 9_007_199_254_740_992);
    let mut snapshot = HistogramSnapshot { sum_micros: 3_000_001, ..Default::default() };
    snapshot.buckets[0] = 1;
    snapshot.buckets[21] = 2;
    let mut time = Family::histogram("netd_turn_seconds", "Time.");
    time.observed(&[("worker", "0")], &snapshot, Bounds::TURN);
    let info = Family::info("netd_build_info", "Build.", &[("version", "0.1.0")]);
    let gauge = Family::gauge("netd_overrides", "Overrides.").with(&[], 0.5);
    [bytes, time, info, gauge].into_iter().filter_map(Family::build).collect()
}

#[test]
fn accept_headers_of_the_world() {
    for (accept, format) in [
        (None, Format::Text),
        (Some(""), Format::Text),
        (Some("*/*"), Format::Text),
        (Some("text/plain"), Format::Text),
        (Some(PROMETHEUS_2), Format::OpenMetrics),
        (Some(PROMETHEUS_3), Format::OpenMetrics),
        (Some("application/openmetrics-text"), Format::OpenMetrics),
        (Some("Application/OpenMetrics-Text; Version=\"1.0.0\""), Format::OpenMetrics),
        (Some("application/openmetrics-text; version=0.0.1"), Format::Text),
        (Some("application/openmetrics-text; q=0"), Format::Text),
        (Some("application/openmetrics-text;q=0.2, text/plain;q=0.3"), Format::Text),
        (Some("application/openmetrics-text;q=nonsense"), Format::Text),
    ] {
        assert_eq!(Format::negotiate(accept), format, "{accept:?}");
    }
}

#[test]
fn open_metrics_names_families_and_samples_as_the_standard_says() {
    let page = Format::OpenMetrics.encode(&families());
    for line in [
        "# TYPE netd_listener_bytes counter",
        "# UNIT netd_listener_bytes bytes",
        r#"# HELP netd_listener_bytes Bytes\nmoved \\ by \"direction\"."#,
        r#"netd_listener_bytes_total{listener="we\"b\\\n",direction="in"} 9007199254740992"#,
        "# TYPE netd_turn_seconds histogram",
        "# UNIT netd_turn_seconds seconds",
        r#"netd_turn_seconds_bucket{worker="0",le="0.000016"} 1"#,
        r#"netd_turn_seconds_bucket{worker="0",le="4.194304"} 3"#,
        r#"netd_turn_seconds_bucket{worker="0",le="+Inf"} 3"#,
        r#"netd_turn_seconds_sum{worker="0"} 3.000001"#,
        r#"netd_turn_seconds_count{worker="0"} 3"#,
        "# TYPE netd_build info",
        r#"netd_build_info{version="0.1.0"} 1"#,
        "# TYPE netd_overrides gauge",
        "netd_overrides 0.5",
    ] {
        assert!(page.lines().any(|each| each == line), "{line} is missing in\n{page}");
    }
    assert!(page.ends_with("\n# EOF\n"));
}

#[test]
fn the_text_format_keeps_the_full_names() {
    let page = Format::Text.encode(&families());
    for line in [
        "# TYPE netd_listener_bytes_total counter",
        r#"netd_turn_seconds_bucket{worker="0",le="+Inf"} 3"#,
        r#"netd_build_info{version="0.1.0"} 1"#,
    ] {
        assert!(page.lines().any(|each| each == line), "{line} is missing in\n{page}");
    }
    assert!(!page.contains("# EOF"));
}

#[test]
fn a_bound_is_always_a_float() {
    assert_eq!(
        (float(1.0), float(0.000_064), float(68_719.476_736)),
        ("1.0".into(), "0.000064".into(), "68719.476736".into())
    );
}

#[test]
fn numbers_that_are_none() {
    assert_eq!(
        (number(f64::NAN), number(f64::INFINITY), number(f64::NEG_INFINITY)),
        ("NaN".into(), "+Inf".into(), "-Inf".into())
    );
}

proptest! {
    #[test]
    fn any_accept_header_gets_an_answer(accept in "\\PC{0,80}") {
        Format::negotiate(Some(&accept));
    }

    #[test]
    fn no_label_value_breaks_a_line(value in any::<String>()) {
        let family = Family::gauge("x", "X.").with(&[("l", &value)], 1.0).build().expect("has a sample");
        let page = Format::OpenMetrics.encode(&[family]);
        prop_assert_eq!(page.matches('\n').count(), 4);
        let text = page.lines().nth(2).unwrap().strip_prefix("x{l=\"").unwrap().strip_suffix("\"} 1").unwrap();
        let (mut read, mut characters) = (String::new(), text.chars());
        while let Some(c) = characters.next() {
            match c {
                '\\' => read.push(match characters.next() { Some('n') => '\n', Some(c) => c, None => '?' }),
                '"' => prop_assert!(false, "unescaped quote"),
                c => read.push(c),
            }
        }
        prop_assert_eq!(read, value);
    }
}
