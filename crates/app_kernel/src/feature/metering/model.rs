//! What is counted, and how it adds up.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

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

/// What stands before the line of a request; other records are JSON, which no line of this begins like.
const REQUEST: &str = "r\t";

/// Writes a request as a line: tabs between its fields, because it is written while somebody waits for the answer.
pub(super) fn write_request(
    line: &mut String,
    day: &str,
    who: WhoRef<'_>,
    method: &str,
    route: &str,
    [status, latency_us, bytes]: [i64; 3],
) {
    let [user_id, workspace_id, key_id] = who;
    let texts =
        [user_id.unwrap_or_default(), workspace_id.unwrap_or_default(), key_id.unwrap_or_default(), method, route];
    line.push_str(REQUEST);
    line.push_str(day);
    for number in [status, latency_us, bytes] {
        // Writing into a String can't fail.
        let _ = write!(line, "\t{number}");
    }
    for text in texts {
        line.push('\t');
        if text.bytes().any(|byte| byte < b' ') {
            line.extend(text.chars().filter(|letter| !letter.is_control()));
        } else {
            line.push_str(text);
        }
    }
}

/// The ids of a user, a workspace and a key.
pub(super) type WhoRef<'a> = [Option<&'a str>; 3];

impl Record {
    /// Reads a line; none where it is no record.
    pub(super) fn read(line: &str) -> Option<Self> {
        match line.strip_prefix(REQUEST) {
            Some(fields) => Self::read_request(fields),
            None => serde_json::from_str(line).ok(),
        }
    }

    fn read_request(fields: &str) -> Option<Self> {
        let fields: Vec<&str> = fields.split('\t').collect();
        let [day, status, latency_us, bytes, user_id, workspace_id, key_id, method, route] = fields[..] else {
            return None;
        };
        let id = |text: &str| Some(text).filter(|text| !text.is_empty()).map(str::to_owned);
        let (status, latency_us, bytes) = (status.parse().ok()?, latency_us.parse().ok()?, bytes.parse().ok()?);
        let who = Who { user_id: id(user_id), workspace_id: id(workspace_id), key_id: id(key_id) };
        let what = What::Request { endpoint: format!("{method} {route}"), status, latency_us, bytes };
        Some(Record { day: day.to_owned(), who, what })
    }
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

/// The day of a moment in UTC, which is asked for with each request and changes once a day.
#[derive(Debug, Default)]
pub(super) struct Today(Mutex<(i64, String)>);

impl Today {
    /// Hands the day to `use_it`.
    pub(super) fn with<T>(&self, now: Timestamp, use_it: impl FnOnce(&str) -> T) -> T {
        let number = now.as_second().div_euclid(24 * 3600);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.1.is_empty() || known.0 != number {
            *known = (number, day_of(now));
        }
        use_it(&known.1)
    }
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
        let record = Record { day: "2025-01-30".to_owned(), who, what: counted };
        let text = serde_json::to_string(&record).expect("JSON");
        assert!(!text.contains('\n'));
        assert_eq!(Record::read(&text), Some(record));
    }

    #[test]
    fn a_request_is_written_and_read_back() {
        let mut line = String::new();
        write_request(&mut line, "2025-01-30", [Some("ann"), None, None], "GET", "/widgets", [200, 10, 100]);
        assert_eq!(line, "r\t2025-01-30\t200\t10\t100\tann\t\t\tGET\t/widgets");
        assert_eq!(Record::read(&line), Some(request(200, Some("ann"))));
        line.clear();
        write_request(
            &mut line,
            "2025-01-30",
            [Some("a\tb\n"), Some("w"), Some("k")],
            "GET",
            "/a\tb",
            [-1, 0, i64::MAX],
        );
        assert_eq!(Record::read(&line), None, "no status is negative, and no field is torn by what is in it: {line:?}");
        assert_eq!(line.matches('\t').count(), 9);
        for wrong in ["", "r", "r\t", "r\t2025-01-30\t200", "{}", "null", "nonsense"] {
            assert_eq!(Record::read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn today_follows_the_clock() {
        let today = Today::default();
        for (second, day) in [(0, "1970-01-01"), (86_399, "1970-01-01"), (86_400, "1970-01-02"), (-1, "1969-12-31")] {
            let now = Timestamp::from_second(second).expect("a moment");
            assert_eq!(today.with(now, str::to_owned), day);
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
