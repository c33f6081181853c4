//! What is counted, and how it adds up.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::base::clock::{Timestamp, format_timestamp};
use crate::base::digits::push_whole;
use crate::base::error::{Error, Result};
use crate::base::secret::token_hash;
use crate::engine::spool::Sum;

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

/// What a service counted itself, as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Counted {
    /// The day in UTC: `2025-01-30`.
    #[serde(rename = "d")]
    pub(super) day: String,
    #[serde(flatten)]
    pub(super) who: Who,
    /// By their names.
    #[serde(rename = "c")]
    pub(super) counters: BTreeMap<String, i64>,
}

/// Writes what requests have in common that are added up: tabs between its fields, because it is written while somebody waits for the answer.
pub(super) fn write_kind(text: &mut String, day: &str, status: u16, who: WhoRef<'_>, method: &str, route: &str) {
    let [user_id, workspace_id, key_id] = who;
    let parts =
        [user_id.unwrap_or_default(), workspace_id.unwrap_or_default(), key_id.unwrap_or_default(), method, route];
    text.push_str(day);
    text.push('\t');
    push_whole(text, status.into());
    for part in parts {
        text.push('\t');
        if part.bytes().any(|byte| byte < b' ') {
            text.extend(part.chars().filter(|letter| !letter.is_control()));
        } else {
            text.push_str(part);
        }
    }
}

/// The ids of a user, a workspace and a key.
pub(super) type WhoRef<'a> = [Option<&'a str>; 3];

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

/// Adds up lines as they were written down. Requests are told apart by the text of their kind alone: of thousands in a second few are of another
/// one than those before.
#[derive(Debug, Default)]
pub(super) struct Tally<'a> {
    requests: HashMap<&'a str, Sums>,
    counters: BTreeMap<Cell, Sums>,
    records: usize,
    unreadable: u64,
}

/// What lines add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tallied {
    pub(super) cells: BTreeMap<Cell, Sums>,
    /// Lines that were read.
    pub(super) records: usize,
    /// Lines that were none of ours, and are not in the cells.
    pub(super) unreadable: u64,
}

impl<'a> Tally<'a> {
    /// Adds a line; none is one that was damaged.
    pub(super) fn add(&mut self, line: Option<&'a str>) {
        self.records += 1;
        if line.and_then(|line| self.try_to_add(line)).is_none() {
            self.unreadable += 1;
        }
    }

    fn try_to_add(&mut self, line: &'a str) -> Option<()> {
        if let Some(sum) = Sum::read(line) {
            self.requests.entry(sum.kind).or_default().add(Sums::of(&sum));
            return Some(());
        }
        let Counted { day, who, counters } = serde_json::from_str(line).ok()?;
        for (metric, value) in counters {
            let cell = Cell { day: day.clone(), metric, endpoint: None, status: None, who: who.clone() };
            self.counters.entry(cell).or_default().add(Sums { value, ..Sums::default() });
        }
        Some(())
    }

    pub(super) fn end(self) -> Tallied {
        let Tally { requests, counters: mut cells, records, mut unreadable } = self;
        for (kind, sums) in requests {
            match cell_of(kind) {
                Some(cell) => cells.entry(cell).or_default().add(sums),
                None => unreadable += sums.value.unsigned_abs(),
            }
        }
        Tallied { cells, records, unreadable }
    }
}

/// The cell of requests of a kind.
fn cell_of(kind: &str) -> Option<Cell> {
    let fields: Vec<&str> = kind.split('\t').collect();
    let [day, status, user_id, workspace_id, key_id, method, route] = fields[..] else { return None };
    let id = |text: &str| Some(text).filter(|text| !text.is_empty()).map(str::to_owned);
    Some(Cell {
        day: day.to_owned(),
        metric: REQUESTS.to_owned(),
        endpoint: Some(format!("{method} {route}")),
        status: Some(status.parse().ok()?),
        who: Who { user_id: id(user_id), workspace_id: id(workspace_id), key_id: id(key_id) },
    })
}

impl Sums {
    /// Those of requests. All numbers of a sum fit.
    fn of(sum: &Sum<'_>) -> Self {
        let [value, latency_us, bytes] =
            [sum.count, sum.numbers[0], sum.numbers[1]].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        Sums { value, latency_us, bytes }
    }

    fn add(&mut self, other: Sums) {
        self.value = self.value.saturating_add(other.value);
        self.latency_us = self.latency_us.saturating_add(other.latency_us);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
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

    fn tallied(lines: &[&str]) -> Tallied {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.add(Some(line)));
        tally.end()
    }

    /// Two requests, as the spool adds them up.
    fn requests(status: u16, user: Option<&str>) -> String {
        let mut line = "r\t2\t10\t100\t".to_owned();
        write_kind(&mut line, "2025-01-30", status, [user, None, None], "GET", "/widgets");
        line
    }

    /// Promise: Q1
    #[test]
    fn requests_add_up_by_endpoint_status_and_user() {
        let [ann, nobody] = [requests(200, Some("ann")), requests(404, None)];
        assert_eq!(ann, "r\t2\t10\t100\t2025-01-30\t200\tann\t\t\tGET\t/widgets");
        let Tallied { cells, records, unreadable } = tallied(&[&ann, &nobody, &ann]);
        assert_eq!((records, unreadable), (3, 0));
        let sums: Vec<_> = cells.iter().map(|(cell, sums)| (cell.status, cell.who.user_id.as_deref(), *sums)).collect();
        let twice = Sums { value: 4, latency_us: 20, bytes: 200 };
        let once = Sums { value: 2, latency_us: 10, bytes: 100 };
        assert_eq!(sums, [(Some(200), Some("ann"), twice), (Some(404), None, once)]);
        assert!(cells.keys().all(|cell| cell.endpoint.as_deref() == Some("GET /widgets") && cell.metric == REQUESTS));
        let ids: std::collections::BTreeSet<String> = cells.keys().map(|cell| cell.id("shop")).collect();
        assert_eq!(ids.len(), 2);
    }

    /// Promise: Q1
    #[test]
    fn counters_of_the_service_add_up_beside_them() {
        let counters = [("tokens".to_owned(), 1500)].into();
        let who = Who { workspace_id: Some("w\n1\"".to_owned()), ..Who::default() };
        let counted = Counted { day: "2025-01-30".to_owned(), who: who.clone(), counters };
        let text = serde_json::to_string(&counted).expect("JSON");
        assert!(!text.contains('\n'));
        let Tallied { cells, .. } = tallied(&[&text, &requests(200, None), &text]);
        let tokens = cells.iter().find(|(cell, _)| cell.metric == "tokens").expect("they are counted");
        assert_eq!((&tokens.0.who, tokens.1.value), (&who, 3000));
        assert_eq!(cells.len(), 2);
    }

    #[test]
    fn lines_that_are_none_of_ours_are_told_and_count_nothing() {
        let mut kind = String::new();
        let who = [Some("a\tb\n"), Some("w"), Some("k")];
        write_kind(&mut kind, "2025-01-30", 200, who, "GET", "/a\tb");
        assert_eq!(kind.matches('\t').count(), 6, "no field is torn by what is in it: {kind:?}");
        let whole = requests(200, None);
        for wrong in ["", "r", "r\t", "r\t2\t10\t100", "{}", "null", "nonsense"] {
            assert_eq!(tallied(&[wrong]), Tallied { records: 1, unreadable: 1, ..Tallied::default() }, "{wrong:?}");
        }
        let half = &whole[..whole.len() - 9];
        assert_eq!(tallied(&[half]), Tallied { records: 1, unreadable: 2, ..Tallied::default() }, "{half:?}");
        let mut damaged = Tally::default();
        damaged.add(None);
        assert_eq!(damaged.end().unreadable, 1);
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
