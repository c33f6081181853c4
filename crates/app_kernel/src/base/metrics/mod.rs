//! Metrics: numbers that say how a process is doing, for Prometheus to collect.
//!
//! - They belong to one kernel, not to the process: several services in one process, as in tests, don't mix theirs.
//! - Counting is an atomic or two, without a lock and without memory: keep what [`Metrics::counter`] answers.
//! - Names are Prometheus' (`orders_total`, `wait_seconds`), with base units. The kernel's begin with `app_kernel_`, `http_server_` or `db_client_`.
//! - A label has few values: never an id, an address, or anything a client can make up.

mod instrument;
mod samples;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::samples::{Kind, labels_text};
use super::error::{Error, Result};

pub use self::instrument::{Counter, Gauge, Held, Histogram, SECONDS, SHORT_SECONDS};
pub use self::samples::Samples;

/// The label sets that one metric of a service may have: more would mean that a label holds an id.
pub const MOST_SERIES: usize = 1000;

/// The metrics of one kernel. Cheap to clone; clones are the same.
///
/// ```
/// # use app_kernel::base::metrics::{Metrics, SECONDS};
/// # fn main() -> app_kernel::base::error::Result<()> {
/// # let metrics = Metrics::default(); // kernel.metrics()
/// let orders = metrics.counter("orders_total", "Orders taken.", &[("kind", "retail")])?;
/// orders.inc();
/// let waits = metrics.histogram("order_wait_seconds", "How long orders waited.", SECONDS, &[])?;
/// waits.observe(0.2);
/// assert!(metrics.samples().text().contains("orders_total{kind=\"retail\"} 1\n"));
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Metrics(Arc<Shared>);

#[derive(Default)]
struct Shared {
    families: Mutex<BTreeMap<String, Family>>,
    sources: Mutex<Vec<Source>>,
}

/// A part of the program that knows its numbers.
type Source = Arc<dyn Fn(&mut Samples) + Send + Sync>;

/// A metric and all its label sets.
struct Family {
    help: String,
    kind: Kind,
    /// By their labels as they are written.
    series: BTreeMap<String, Instrument>,
}

#[derive(Clone)]
enum Instrument {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Metrics {
    /// A number that only grows; its name ends in `_total`. The same name and labels are the same number.
    ///
    /// # Errors
    /// Where a name does not fit, is another kind of metric already, or has [`MOST_SERIES`] label sets.
    pub fn counter(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Result<Counter> {
        if !name.ends_with("_total") {
            return Err(Error::invalid(format!("the counter `{name}` must end in `_total`, as Prometheus wants it")));
        }
        match self.instrument(name, help, labels, Kind::Counter, || Instrument::Counter(Counter::default()))? {
            Instrument::Counter(counter) => Ok(counter),
            _ => Err(is_another(name)),
        }
    }

    /// A number that goes up and down.
    ///
    /// # Errors
    /// As [`Metrics::counter`].
    pub fn gauge(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Result<Gauge> {
        match self.instrument(name, help, labels, Kind::Gauge, || Instrument::Gauge(Gauge::default()))? {
            Instrument::Gauge(gauge) => Ok(gauge),
            _ => Err(is_another(name)),
        }
    }

    /// How often values are between these bounds, such as [`SECONDS`]. The bounds of the first call hold for these labels.
    ///
    /// # Errors
    /// As [`Metrics::counter`].
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64], labels: &[(&str, &str)]) -> Result<Histogram> {
        let make = || Instrument::Histogram(Histogram::new(bounds));
        match self.instrument(name, help, labels, Kind::Histogram, make)? {
            Instrument::Histogram(histogram) => Ok(histogram),
            _ => Err(is_another(name)),
        }
    }

    /// Asks for numbers at each scrape, for what is counted elsewhere. It must be quick, and block nothing. Names are the source's to keep
    /// apart from others'.
    pub fn collect(&self, source: impl Fn(&mut Samples) + Send + Sync + 'static) {
        unpoisoned(&self.0.sources).push(Arc::new(source));
    }

    /// All numbers as they are now.
    #[must_use]
    pub fn samples(&self) -> Samples {
        let mut samples = Samples::default();
        for (name, family) in &*unpoisoned(&self.0.families) {
            for (labels, instrument) in &family.series {
                match instrument {
                    Instrument::Counter(counter) => {
                        samples.line(name, &family.help, Kind::Counter, labels, counter.get());
                    }
                    Instrument::Gauge(gauge) => samples.line(name, &family.help, Kind::Gauge, labels, gauge.get()),
                    Instrument::Histogram(histogram) => samples.buckets(name, &family.help, labels, histogram),
                }
            }
        }
        // A source may make metrics of its own, so the lock is not held while it is asked.
        let sources = unpoisoned(&self.0.sources).clone();
        for source in sources {
            source(&mut samples);
        }
        samples
    }

    fn instrument(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        kind: Kind,
        make: impl FnOnce() -> Instrument,
    ) -> Result<Instrument> {
        check_names(name, labels)?;
        let mut families = unpoisoned(&self.0.families);
        let family = families.entry(name.to_owned()).or_insert_with(|| Family {
            help: help.to_owned(),
            kind,
            series: BTreeMap::new(),
        });
        if family.kind != kind {
            return Err(is_another(name));
        }
        let labels = labels_text(labels);
        if let Some(instrument) = family.series.get(&labels) {
            return Ok(instrument.clone());
        }
        if family.series.len() >= MOST_SERIES {
            return Err(Error::invalid(format!(
                "the metric `{name}` has {MOST_SERIES} label sets already; a label must have few values, never an id"
            )));
        }
        Ok(family.series.entry(labels).or_insert_with(make).clone())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("families", &unpoisoned(&self.0.families).len()).finish_non_exhaustive()
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_another(name: &str) -> Error {
    Error::invalid(format!("the metric `{name}` is of another kind already; give one of the two another name"))
}

/// What Prometheus calls its data model. Colons are for rules, and a label's `__` for Prometheus itself.
fn check_names(name: &str, labels: &[(&str, &str)]) -> Result<()> {
    let is_name = |text: &str| {
        text.bytes()
            .enumerate()
            .all(|(i, byte)| byte == b'_' || byte.is_ascii_alphabetic() || (i > 0 && byte.is_ascii_digit()))
            && !text.is_empty()
    };
    if !is_name(name) {
        return Err(Error::invalid(format!(
            "`{name}` can't name a metric; it must have letters, digits and `_`, and not begin with a digit"
        )));
    }
    match labels.iter().find(|(label, _)| !is_name(label) || label.starts_with("__") || *label == "le") {
        None => Ok(()),
        Some((label, _)) => Err(Error::invalid(format!("`{label}` can't name a label of the metric `{name}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_labels_are_one_number_in_one_kernel() {
        let (metrics, other) = (Metrics::default(), Metrics::default());
        let orders =
            |metrics: &Metrics, kind| metrics.counter("orders_total", "Orders.", &[("kind", kind)]).expect("a counter");
        orders(&metrics, "a").inc();
        orders(&metrics, "a").inc();
        orders(&metrics, "b").inc();
        orders(&other, "a").inc();
        metrics.gauge("rooms", "Rooms.", &[]).expect("a gauge").set(-4);
        metrics.collect(|samples| samples.gauge("rooms", "", &[("floor", "1")], 2.0));
        let wanted = "# HELP orders_total Orders.\n# TYPE orders_total counter\norders_total{kind=\"a\"} 2\n\
                      orders_total{kind=\"b\"} 1\n# HELP rooms Rooms.\n# TYPE rooms gauge\nrooms -4\nrooms{floor=\"1\"} 2\n";
        assert_eq!(metrics.samples().text(), wanted);
        assert!(other.samples().text().ends_with("orders_total{kind=\"a\"} 1\n"));
    }

    #[test]
    fn what_prometheus_would_refuse_is_refused_at_once() {
        let metrics = Metrics::default();
        metrics.gauge("a_total", "A.", &[]).expect("a gauge");
        for (name, label, problem) in [
            ("orders", "a", "must end in `_total`"),
            ("0_total", "a", "can't name a metric"),
            ("a b_total", "a", "can't name a metric"),
            ("a_total", "a", "of another kind already"),
            ("b_total", "le", "can't name a label"),
            ("b_total", "__a", "can't name a label"),
            ("b_total", "", "can't name a label"),
        ] {
            let error = metrics.counter(name, "", &[(label, "x")]).expect_err(problem);
            assert!(error.to_string().contains(problem), "{name} {label}: {error}");
        }
    }

    #[test]
    fn labels_that_hold_ids_come_to_an_end() {
        let metrics = Metrics::default();
        let made = (0..).find(|id| metrics.counter("a_total", "A.", &[("id", &id.to_string())]).is_err());
        assert_eq!(made, Some(MOST_SERIES));
        metrics.counter("a_total", "A.", &[("id", "7")]).expect("one that is there").inc();
    }
}
