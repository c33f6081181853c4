//! Numbers as they are at one moment, and how they are written: Prometheus' text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::instrument::Histogram;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Numbers of one moment, by metric. Each part of the kernel adds its own; the help of a metric is what its first sample says.
#[derive(Debug, Clone, Default)]
pub struct Samples(BTreeMap<String, Metric>);

#[derive(Debug, Clone)]
struct Metric {
    help: String,
    kind: Kind,
    /// Its lines.
    text: String,
}

impl Samples {
    /// A number that only grows from when the process began; its name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: u64) {
        self.line(name, help, Kind::Counter, &labels_text(labels), value);
    }

    /// The same, for what is counted in fractions, such as seconds.
    pub fn counter_f64(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.line(name, help, Kind::Counter, &labels_text(labels), value);
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.line(name, help, Kind::Gauge, &labels_text(labels), value);
    }

    /// How often values were seen between bounds.
    pub fn histogram(&mut self, name: &str, help: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        self.buckets(name, help, &labels_text(labels), histogram);
    }

    /// Adds the numbers of others.
    pub fn extend(&mut self, others: Samples) {
        for (name, metric) in others.0 {
            let text = self.metric(&name, &metric.help, metric.kind);
            text.push_str(&metric.text);
        }
    }

    /// All of it as text, sorted by name.
    #[must_use]
    pub fn text(&self) -> String {
        let mut all = String::new();
        for (name, Metric { help, kind, text }) in &self.0 {
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            let kind = kind.as_str();
            // Writing to a string does not fail.
            let _ = write!(all, "# HELP {name} {help}\n# TYPE {name} {kind}\n{text}");
        }
        all
    }

    /// A line of a metric whose labels are written already.
    pub(super) fn line(&mut self, name: &str, help: &str, kind: Kind, labels: &str, value: impl fmt::Display) {
        let text = self.metric(name, help, kind);
        let _ = match labels {
            "" => writeln!(text, "{name} {value}"),
            labels => writeln!(text, "{name}{{{labels}}} {value}"),
        };
    }

    pub(super) fn buckets(&mut self, name: &str, help: &str, labels: &str, histogram: &Histogram) {
        let text = self.metric(name, help, Kind::Histogram);
        let comma = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        for (bound, sum) in histogram.cumulative() {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {sum}");
            count = sum;
        }
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        // The count is what the buckets say, so that the two never contradict each other.
        let _ = write!(text, "{name}_sum{braced} {}\n{name}_count{braced} {count}\n", histogram.sum());
    }

    fn metric(&mut self, name: &str, help: &str, kind: Kind) -> &mut String {
        if !self.0.contains_key(name) {
            let metric = Metric { help: help.to_owned(), kind, text: String::new() };
            self.0.insert(name.to_owned(), metric);
        }
        let metric = self.0.get_mut(name).expect("it was made where it was missing");
        debug_assert_eq!(metric.kind, kind, "{name} is two kinds of metric");
        &mut metric.text
    }
}

/// Labels as they stand between the braces.
pub(super) fn labels_text(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let mut samples = Samples::default();
        samples.gauge("rooms", "Rooms,\nby \\ floor.", &[("floor", "a\"b\\c\nd"), ("side", "east")], 1.5);
        samples.counter("doors_total", "Doors.", &[], 3);
        let histogram = Histogram::new(&[0.25]);
        histogram.observe(0.25);
        histogram.observe(9.0);
        samples.histogram("stay_seconds", "Stays.", &[("floor", "1")], &histogram);
        samples.histogram("wait_seconds", "Waits.", &[], &histogram);
        let mut more = Samples::default();
        more.gauge("rooms", "said before", &[], 2.0);
        samples.extend(more);
        let wanted = r#"# HELP doors_total Doors.
# TYPE doors_total counter
doors_total 3
# HELP rooms Rooms,\nby \\ floor.
# TYPE rooms gauge
rooms{floor="a\"b\\c\nd",side="east"} 1.5
rooms 2
# HELP stay_seconds Stays.
# TYPE stay_seconds histogram
stay_seconds_bucket{floor="1",le="0.25"} 1
stay_seconds_bucket{floor="1",le="+Inf"} 2
stay_seconds_sum{floor="1"} 9.25
stay_seconds_count{floor="1"} 2
# HELP wait_seconds Waits.
# TYPE wait_seconds histogram
wait_seconds_bucket{le="0.25"} 1
wait_seconds_bucket{le="+Inf"} 2
wait_seconds_sum 9.25
wait_seconds_count 2
"#;
        assert_eq!(samples.text(), wanted);
    }
}
