//! Counting, and asking how much was used.

use std::collections::BTreeMap;
use std::future::IntoFuture;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{Counted, REQUESTS, Who, check_metric, day_of, days_of};
use crate::base::error::{Error, Result};
use crate::kernel::Kernel;
use crate::store::db::value::Value;
use crate::store::db::{Backend, Db};

/// The most lines that usage by something has.
const MOST_LINES: u32 = 10_000;

/// Counts something of the service's own: `track_usage(&kernel).user(id).count("tokens", 1500).record()?`.
pub fn track_usage(kernel: &Kernel) -> TrackUsage<'_> {
    TrackUsage { kernel, who: Who::default(), counts: BTreeMap::new() }
}

/// Something that was used; see [`track_usage`].
#[derive(Debug)]
#[must_use = "nothing is counted until it is recorded"]
pub struct TrackUsage<'a> {
    kernel: &'a Kernel,
    who: Who,
    counts: BTreeMap<String, i64>,
}

impl TrackUsage<'_> {
    /// Who used it.
    pub fn user(mut self, id: impl Into<String>) -> Self {
        self.who.user_id = Some(id.into());
        self
    }

    /// In which workspace.
    pub fn workspace(mut self, id: impl Into<String>) -> Self {
        self.who.workspace_id = Some(id.into());
        self
    }

    /// With which API key.
    pub fn key(mut self, id: impl Into<String>) -> Self {
        self.who.key_id = Some(id.into());
        self
    }

    /// So many more of something. A counter's name is letters, digits and `_-.:`.
    pub fn count(mut self, metric: impl Into<String>, amount: i64) -> Self {
        let sum = self.counts.entry(metric.into()).or_default();
        *sum = sum.saturating_add(amount);
        self
    }

    /// Writes it down: from here on it is counted, whatever is killed.
    ///
    /// # Errors
    /// `Invalid` where a name can't be a counter, or an amount is negative; `Unavailable` where the service has no database.
    pub fn record(self) -> Result<()> {
        let TrackUsage { kernel, who, counts } = self;
        for (metric, amount) in &counts {
            check_metric(metric)?;
            if *amount < 0 || metric == REQUESTS {
                return Err(Error::invalid(format!(
                    "`{metric}` can't be counted by {amount}; requests are counted by themselves"
                ))
                .code("bad_metric"));
            }
        }
        let record = Counted { day: day_of(kernel.clock().now()), who, counters: counts };
        kernel.usage()?.append(&serde_json::to_string(&record).expect("a record is always JSON"));
        Ok(())
    }
}

/// How much was used: `requests`, `latency_us`, `bytes`, and the service's own counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Usage(pub BTreeMap<String, i64>);

impl Usage {
    /// A counter; 0 where nothing was counted.
    #[must_use]
    pub fn get(&self, metric: &str) -> i64 {
        self.0.get(metric).copied().unwrap_or(0)
    }
}

/// What usage is told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Method and template of the route.
    Endpoint,
    /// The status of the answer.
    Status,
    /// The user.
    User,
    /// The workspace.
    Workspace,
    /// The API key.
    Key,
    /// The day in UTC.
    Day,
}

impl By {
    fn column(self) -> &'static str {
        match self {
            By::Endpoint => "endpoint",
            By::Status => "status",
            By::User => "user_id",
            By::Workspace => "workspace_id",
            By::Key => "key_id",
            By::Day => "day",
        }
    }
}

/// One line of usage by something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageOf {
    /// The endpoint, user, workspace, key, status or day. Absent for what has none.
    pub of: Option<String>,
    /// How much.
    pub usage: Usage,
}

/// How much was used, from the admin database: what a process has counted is there a second later.
/// `get_usage(&admin_db).app("my_app").workspace(id).period("2025-01").await?.get("tokens")`.
pub fn get_usage(admin_db: &Db) -> GetUsage {
    GetUsage { admin: admin_db.clone(), clauses: Vec::new(), params: Vec::new(), refusal: None }
}

/// A question about usage; see [`get_usage`].
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited"]
pub struct GetUsage {
    admin: Db,
    clauses: Vec<&'static str>,
    params: Vec<Value>,
    refusal: Option<Error>,
}

impl GetUsage {
    fn only(mut self, clause: &'static str, value: impl Into<Value>) -> Self {
        self.clauses.push(clause);
        self.params.push(value.into());
        self
    }

    /// Of this service. Without it, of all that share the admin database.
    pub fn app(self, app: impl Into<String>) -> Self {
        self.only("[app] = ?", app.into())
    }

    /// In this workspace.
    pub fn workspace(self, id: impl Into<String>) -> Self {
        self.only("[workspace_id] = ?", id.into())
    }

    /// By this user.
    pub fn user(self, id: impl Into<String>) -> Self {
        self.only("[user_id] = ?", id.into())
    }

    /// With this API key.
    pub fn key(self, id: impl Into<String>) -> Self {
        self.only("[key_id] = ?", id.into())
    }

    /// Of this endpoint: `GET /widgets/{id}`.
    pub fn endpoint(self, endpoint: impl Into<String>) -> Self {
        self.only("[endpoint] = ?", endpoint.into())
    }

    /// Only this counter.
    pub fn metric(self, metric: impl Into<String>) -> Self {
        self.only("[metric] = ?", metric.into())
    }

    /// In this year, month or day, in UTC: `2025`, `2025-01`, `2025-01-30`. Without it, ever.
    pub fn period(self, period: impl AsRef<str>) -> Self {
        match days_of(period.as_ref()) {
            Ok((from, behind)) => self.only("[day] >= ?", from).only("[day] < ?", behind),
            Err(refusal) => GetUsage { refusal: Some(refusal), ..self },
        }
    }

    /// The same, told apart by something; ten thousand lines at most.
    ///
    /// # Errors
    /// Where the period can't be read, and those of the database.
    pub async fn by(self, by: By) -> Result<Vec<UsageOf>> {
        let mut lines: BTreeMap<Option<String>, Usage> = BTreeMap::new();
        for (of, metric, [value, latency, bytes]) in self.sums(by.column()).await? {
            add(&mut lines.entry(of).or_default().0, metric, [value, latency, bytes]);
        }
        Ok(lines.into_iter().map(|(of, usage)| UsageOf { of, usage }).collect())
    }

    /// The sums of each counter, apart by a column.
    async fn sums(self, column: &str) -> Result<Vec<(Option<String>, String, [i64; 3])>> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        // What a sum is differs: PostgreSQL and MySQL make a decimal number of it.
        let whole = if self.admin.backend() == Backend::MySql { "SIGNED" } else { "BIGINT" };
        let sum = |name: &str| format!("CAST(SUM([{name}]) AS {whole}) AS [{name}_sum]");
        let sums = ["value", "latency_us", "bytes"].map(sum).join(", ");
        let clauses = if self.clauses.is_empty() { "1 = 1".to_owned() } else { self.clauses.join(" AND ") };
        let sql = format!(
            "SELECT [{column}] AS [of], [metric], {sums} FROM [kernel_usage] WHERE {clauses} \
             GROUP BY [{column}], [metric] ORDER BY [{column}], [metric] LIMIT {MOST_LINES}"
        );
        let rows = self.admin.query(sql, self.params).await?;
        let number = |value: &Value| value.as_int().unwrap_or(0);
        let read = |row: &crate::store::db::row::Row| {
            let of = match &row["of"] {
                Value::Null => None,
                Value::Int(number) => Some(number.to_string()),
                value => value.as_str().map(str::to_owned),
            };
            let metric = row["metric"].as_str().unwrap_or_default().to_owned();
            (of, metric, [number(&row["value_sum"]), number(&row["latency_us_sum"]), number(&row["bytes_sum"])])
        };
        Ok(rows.iter().map(read).collect())
    }
}

fn add(usage: &mut BTreeMap<String, i64>, metric: String, [value, latency_us, bytes]: [i64; 3]) {
    let mut add = |name: &str, more: i64| {
        let sum = usage.entry(name.to_owned()).or_default();
        *sum = sum.saturating_add(more);
    };
    if metric == REQUESTS {
        add("latency_us", latency_us);
        add("bytes", bytes);
    }
    add(&metric, value);
}

impl IntoFuture for GetUsage {
    type Output = Result<Usage>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut usage = Usage::default();
            for (_, metric, sums) in self.sums("app").await? {
                add(&mut usage.0, metric, sums);
            }
            Ok(usage)
        })
    }
}
