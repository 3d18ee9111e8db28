//! Metric families as text: Prometheus' format 0.0.4 and OpenMetrics 1.0.

use std::fmt::{self, Write};

use prometheus::{
    TextEncoder,
    proto::{LabelPair, Metric, MetricFamily, MetricType},
};

/// A text format of `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4; what everybody reads.
    Text,
    /// OpenMetrics 1.0 text.
    OpenMetrics,
}

impl Format {
    /// What a client's `Accept` header asks for (RFC 9110 section 12.5.1).
    /// OpenMetrics only where it is named and nothing else is liked better.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let Some(accept) = accept else { return Self::Text };
        let (mut open, mut text) = (0, 0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
            let quality = parameters.iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
            let quality = quality.map_or(1000, |(_, value)| thousandths(value));
            match media_type.as_str() {
                "application/openmetrics-text" if speaks_1_0(&parameters) => open = open.max(quality),
                "text/plain" => text = text.max(quality),
                _ => {}
            }
        }
        if open > 0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// Value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The page. Counter families are named with `_total`, families without
    /// samples and of other kinds than counter, gauge and histogram are left
    /// out.
    pub fn encode(self, families: &[MetricFamily]) -> String {
        let mut page = String::with_capacity(families.len() * 512);
        for family in families.iter().filter(|family| is_publishable(family)) {
            let before = page.len();
            let written = match self {
                Self::Text => {
                    TextEncoder::new().encode_utf8(std::slice::from_ref(family), &mut page).map_err(|_| fmt::Error)
                }
                Self::OpenMetrics => open_metrics(&mut page, family),
            };
            if written.is_err() {
                page.truncate(before);
            }
        }
        if self == Self::OpenMetrics {
            page.push_str("# EOF\n");
        }
        page
    }
}

/// `q` in thousandths; what is no number counts as 0.
fn thousandths(value: &str) -> u32 {
    value.trim().parse::<f32>().map_or(0, |value| (value.clamp(0.0, 1.0) * 1000.0) as u32)
}

/// No version named means any.
fn speaks_1_0(parameters: &[(&str, &str)]) -> bool {
    parameters
        .iter()
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("version"))
        .is_none_or(|(_, version)| version.trim().trim_matches('"') == "1.0.0")
}

/// The text encoder has no answer to other kinds.
fn is_publishable(family: &MetricFamily) -> bool {
    let kind = family.get_field_type();
    !family.get_metric().is_empty() && matches!(kind, MetricType::COUNTER | MetricType::GAUGE | MetricType::HISTOGRAM)
}

fn open_metrics(page: &mut String, family: &MetricFamily) -> fmt::Result {
    let sample = family.name();
    // In OpenMetrics the family of `x_total` and of `x_info` is called `x`.
    let (name, kind) = match family.get_field_type() {
        MetricType::COUNTER => (sample.strip_suffix("_total").unwrap_or(sample), "counter"),
        MetricType::HISTOGRAM => (sample, "histogram"),
        _ => sample.strip_suffix("_info").map_or((sample, "gauge"), |name| (name, "info")),
    };
    writeln!(page, "# TYPE {name} {kind}")?;
    if let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}"))) {
        writeln!(page, "# UNIT {name} {unit}")?;
    }
    writeln!(page, "# HELP {name} {}", escaped(family.help()))?;
    for metric in family.get_metric() {
        match family.get_field_type() {
            MetricType::COUNTER => {
                line(page, &format!("{name}_total"), metric.get_label(), None, metric.get_counter().get_value())?;
            }
            MetricType::HISTOGRAM => histogram(page, name, metric)?,
            _ => line(page, sample, metric.get_label(), None, metric.get_gauge().get_value())?,
        }
    }
    Ok(())
}

fn histogram(page: &mut String, name: &str, metric: &Metric) -> fmt::Result {
    let (labels, histogram) = (metric.get_label(), metric.get_histogram());
    let bucket = format!("{name}_bucket");
    for each in histogram.get_bucket().iter().filter(|each| each.upper_bound().is_finite()) {
        line(page, &bucket, labels, Some(&float(each.upper_bound())), each.cumulative_count() as f64)?;
    }
    let count = histogram.get_sample_count() as f64;
    line(page, &bucket, labels, Some("+Inf"), count)?;
    line(page, &format!("{name}_sum"), labels, None, histogram.get_sample_sum())?;
    line(page, &format!("{name}_count"), labels, None, count)
}

fn line(page: &mut String, name: &str, labels: &[LabelPair], le: Option<&str>, value: f64) -> fmt::Result {
    page.push_str(name);
    let mut separator = '{';
    for (name, value) in labels.iter().map(|pair| (pair.name(), pair.value())).chain(le.map(|le| ("le", le))) {
        write!(page, "{separator}{name}=\"{}\"", escaped(value))?;
        separator = ',';
    }
    if separator == ',' {
        page.push('}');
    }
    writeln!(page, " {}", number(value))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        value.to_string()
    }
}

/// `le` must look like a float: `1.0`.
fn float(value: f64) -> String {
    let text = value.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

#[cfg(test)]
mod tests;
