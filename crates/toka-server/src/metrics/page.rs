//! What is answered to a scrape: the values of metrics, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use toka_raft::meters::Distribution;

use super::table::{ALL, Kind, Metric};

/// Metrics with their values. One that was given none has its description alone.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Lines, by the metric's name.
    lines: BTreeMap<&'static str, String>,
}

impl Page {
    /// The value of a metric without labels.
    pub(super) fn set(&mut self, metric: &'static Metric, value: impl Display) {
        self.set_of(metric, &[], value);
    }

    /// The value of a metric with these labels, in their order.
    pub(super) fn set_of(&mut self, metric: &'static Metric, labels: &[&str], value: impl Display) {
        let labels = labels_of(metric, labels, None);
        self.line(metric, "", &labels, value);
    }

    /// The times of a metric with these labels.
    pub(super) fn times(&mut self, metric: &'static Metric, labels: &[&str], times: &Distribution) {
        debug_assert_eq!(metric.kind, Kind::Histogram, "{}", metric.name);
        debug_assert_eq!(metric.unit, "seconds", "{}", metric.name);
        for (bound, count) in &times.up_to {
            let bound = bound.as_secs_f64().to_string();
            let labels = labels_of(metric, labels, Some(&bound));
            self.line(metric, "_bucket", &labels, count);
        }
        let rest = labels_of(metric, labels, Some("+Inf"));
        self.line(metric, "_bucket", &rest, times.count);
        let labels = labels_of(metric, labels, None);
        self.line(metric, "_sum", &labels, times.sum.as_secs_f64());
        self.line(metric, "_count", &labels, times.count);
    }

    fn line(&mut self, metric: &'static Metric, suffix: &str, labels: &str, value: impl Display) {
        let lines = self.lines.entry(metric.name).or_default();
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{}{suffix}{labels} {value}", metric.name);
    }

    /// Everything, in the table's order.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for metric in ALL {
            let Metric {
                name, kind, help, ..
            } = metric;
            let kind = kind.name();
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            if let Some(lines) = self.lines.get(name) {
                text.push_str(lines);
            }
        }
        text
    }
}

/// Labels as they stand behind a name, with a bucket's bound.
fn labels_of(metric: &Metric, values: &[&str], bound: Option<&str>) -> String {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let labels = metric.labels.iter().copied().zip(values.iter().copied());
    let labels = labels.chain(bound.map(|bound| ("le", bound)));
    let labels: Vec<String> = labels
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    if labels.is_empty() {
        return String::new();
    }
    format!("{{{}}}", labels.join(","))
}

fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::table;
    use super::*;

    #[test]
    fn labels_are_written_in_their_order_and_escaped() {
        let mut page = Page::default();
        page.set_of(&table::GRPC_CALLS, &["a\"b\\c\nd", "OK"], 7);
        let line = "\ntoka_grpc_calls_total{method=\"a\\\"b\\\\c\\nd\",code=\"OK\"} 7\n";
        let text = page.text();
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn times_are_buckets_a_sum_and_a_count() {
        let times = Distribution {
            up_to: vec![(Duration::from_micros(2_500), 1)],
            count: 3,
            sum: Duration::from_millis(1_500),
        };
        let mut page = Page::default();
        page.times(&table::STAGE_SECONDS, &["log"], &times);
        let text = page.text();
        let name = "toka_commit_stage_duration_seconds";
        for line in [
            format!("# TYPE {name} histogram"),
            format!("{name}_bucket{{stage=\"log\",le=\"0.0025\"}} 1"),
            format!("{name}_bucket{{stage=\"log\",le=\"+Inf\"}} 3"),
            format!("{name}_sum{{stage=\"log\"}} 1.5"),
            format!("{name}_count{{stage=\"log\"}} 3"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn a_metric_without_a_value_is_described_all_the_same() {
        let text = Page::default().text();
        assert!(text.contains("# TYPE toka_ready gauge\n"), "{text}");
        assert!(!text.contains("\ntoka_ready "), "{text}");
    }
}
