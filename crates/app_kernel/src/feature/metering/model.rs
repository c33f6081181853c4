//! What is counted, and how it adds up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::clock::{Timestamp, format_timestamp};
use crate::base::error::{Error, Result};
use crate::base::secret::token_hash;

/// The counter of requests.
pub(super) const REQUESTS: &str = "requests";
/// What [`Usage`](super::Usage) tells beside the counters; no counter may be called so.
pub(super) const SUMS: [&str; 2] = ["bytes", "latency_us"];
/// The longest name of a counter.
const LONGEST_METRIC: usize = 64;

/// Who used something. What is not known is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Who {
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub(super) user_id: Option<String>,
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub(super) workspace_id: Option<String>,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub(super) key_id: Option<String>,
}

/// One thing that was used, as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The day in UTC: `2025-01-30`.
    #[serde(rename = "d")]
    pub(super) day: String,
    #[serde(flatten)]
    pub(super) who: Who,
    #[serde(flatten)]
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum What {
    /// A request.
    #[serde(rename = "r")]
    Request {
        #[serde(rename = "e")]
        endpoint: String,
        #[serde(rename = "s")]
        status: u16,
        #[serde(rename = "t")]
        latency_us: i64,
        #[serde(rename = "b")]
        bytes: i64,
    },
    /// Counters of the service's own.
    #[serde(rename = "c")]
    Counted(BTreeMap<String, i64>),
}

/// What is counted apart from each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Cell {
    pub(super) day: String,
    pub(super) metric: String,
    pub(super) endpoint: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) who: Who,
}

/// What adds up in a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub(super) value: i64,
    pub(super) latency_us: i64,
    pub(super) bytes: i64,
}

impl Cell {
    /// The row of this cell.
    pub(super) fn id(&self, app: &str) -> String {
        let Cell { day, metric, endpoint, status, who } = self;
        let Who { user_id, workspace_id, key_id } = who;
        let mut id = token_hash(
            &serde_json::json!([app, day, metric, endpoint, status, user_id, workspace_id, key_id]).to_string(),
        );
        id.truncate(40);
        id
    }
}

/// Adds records up.
pub(super) fn add_up(records: impl Iterator<Item = Record>) -> BTreeMap<Cell, Sums> {
    let mut cells: BTreeMap<Cell, Sums> = BTreeMap::new();
    let mut add = |cell: Cell, sums: Sums| {
        let sum = cells.entry(cell).or_default();
        sum.value = sum.value.saturating_add(sums.value);
        sum.latency_us = sum.latency_us.saturating_add(sums.latency_us);
        sum.bytes = sum.bytes.saturating_add(sums.bytes);
    };
    for Record { day, who, what } in records {
        match what {
            What::Request { endpoint, status, latency_us, bytes } => {
                let cell =
                    Cell { day, metric: REQUESTS.to_owned(), endpoint: Some(endpoint), status: Some(status), who };
                add(cell, Sums { value: 1, latency_us, bytes });
            }
            What::Counted(counts) => {
                for (metric, value) in counts {
                    let cell = Cell { day: day.clone(), metric, endpoint: None, status: None, who: who.clone() };
                    add(cell, Sums { value, ..Sums::default() });
                }
            }
        }
    }
    cells
}

/// The day of a moment in UTC.
pub(super) fn day_of(time: Timestamp) -> String {
    let mut day = format_timestamp(time);
    day.truncate("2025-01-30".len());
    day
}

/// The month of a moment in UTC.
pub(super) fn month_of(time: Timestamp) -> String {
    let mut month = day_of(time);
    month.truncate("2025-01".len());
    month
}

/// The first day of a period, and a text behind its last.
pub(super) fn days_of(period: &str) -> Result<(String, String)> {
    let has_form = |form: &str| {
        period.len() == form.len()
            && period.bytes().zip(form.bytes()).all(|(b, f)| if f == b'0' { b.is_ascii_digit() } else { b == f })
    };
    if ["0000", "0000-00", "0000-00-00"].iter().any(|form| has_form(form)) {
        return Ok((period.to_owned(), format!("{period}~")));
    }
    Err(Error::invalid("a period can't be read")
        .field("/period", "must be a year, a month or a day, such as 2025, 2025-01 or 2025-01-30"))
}

/// Refuses names that no counter can have.
pub(super) fn check_metric(metric: &str) -> Result<()> {
    let is_name = !metric.is_empty()
        && metric.len() <= LONGEST_METRIC
        && metric.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte));
    if !is_name || SUMS.contains(&metric) {
        return Err(Error::invalid(format!(
            "`{}` can't be a counter: names are letters, digits and _-.: up to {LONGEST_METRIC}, and not {}",
            metric.chars().take(LONGEST_METRIC).collect::<String>(),
            SUMS.join(" or ")
        ))
        .code("bad_metric"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(status: u16, user: Option<&str>) -> Record {
        let what = What::Request { endpoint: "GET /widgets".to_owned(), status, latency_us: 10, bytes: 100 };
        let who = Who { user_id: user.map(str::to_owned), ..Who::default() };
        Record { day: "2025-01-30".to_owned(), who, what }
    }

    /// Promise: Q1
    #[test]
    fn requests_add_up_by_endpoint_status_and_user() {
        let cells = add_up([request(200, Some("ann")), request(200, Some("ann")), request(404, None)].into_iter());
        let sums: Vec<_> = cells.iter().map(|(cell, sums)| (cell.status, cell.who.user_id.as_deref(), *sums)).collect();
        let twice = Sums { value: 2, latency_us: 20, bytes: 200 };
        let once = Sums { value: 1, latency_us: 10, bytes: 100 };
        assert_eq!(sums, [(Some(200), Some("ann"), twice), (Some(404), None, once)]);
        let ids: std::collections::BTreeSet<String> = cells.keys().map(|cell| cell.id("shop")).collect();
        assert_eq!(ids.len(), 2);
    }

    #[test]
    fn a_record_is_written_and_read_back() {
        let counted = What::Counted([("tokens".to_owned(), 1500)].into());
        let who = Who { workspace_id: Some("w\n1\"".to_owned()), ..Who::default() };
        for record in [request(200, Some("ann")), Record { day: "2025-01-30".to_owned(), who, what: counted }] {
            let text = serde_json::to_string(&record).expect("JSON");
            assert!(!text.contains('\n'));
            assert_eq!(serde_json::from_str::<Record>(&text).expect("a record"), record);
        }
    }

    /// Promise: Q3
    #[test]
    fn a_period_is_a_year_a_month_or_a_day() {
        let (from, behind) = days_of("2025-01").expect("a month");
        let is_in = |day: &str| *day >= *from && *day < *behind;
        assert!(is_in("2025-01-01") && is_in("2025-01-31") && !is_in("2025-02-01") && !is_in("2024-12-31"));
        for wrong in ["", "2025-1", "january", "2025-01-30T12", "20255"] {
            days_of(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn a_counter_has_a_plain_name() {
        for good in ["tokens", "ai.tokens:gpt-5", "A_1"] {
            check_metric(good).expect(good);
        }
        for bad in ["", "bytes", "a b", "ü", &"x".repeat(65)] {
            check_metric(bad).expect_err(bad);
        }
    }
}
