//! The tables of the usage, in the admin database, and how sums get into them: each stretch of a file exactly once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::{Cell, Sums, Who};
use crate::base::error::Result;
use crate::store::db::entity::{Entity, EntityDef};
use crate::store::db::places::list_of;
use crate::store::db::value::Value;
use crate::store::db::{Backend, Db};

/// Counters that one statement adds to.
const ROWS_AT_ONCE: usize = 32;

/// How much of something was used on one day: the requests to one endpoint that ended with one status, or a counter of the service's own, by one
/// user in one workspace.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_usage", history = false, index(app, day))]
pub struct UsageCounter {
    /// The service.
    pub app: String,
    /// The day in UTC: `2025-01-30`.
    pub day: String,
    /// `requests`, or the counter's name.
    pub metric: String,
    /// Method and template of the route, for requests.
    pub endpoint: Option<String>,
    /// The status, for requests.
    pub status: Option<i64>,
    /// Who.
    #[entity(index)]
    pub user_id: Option<String>,
    /// Where.
    #[entity(index)]
    pub workspace_id: Option<String>,
    /// With which API key.
    pub key_id: Option<String>,
    /// How many.
    pub value: i64,
    /// How long they took together, in microseconds.
    pub latency_us: i64,
    /// How long the answers were together, as far as that is known when they begin.
    pub bytes: i64,
}

/// Up to where a file is applied. Its id is the file's name.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_usage_spools", history = false)]
pub struct UsageSpool {
    /// The service.
    pub app: String,
    /// In bytes.
    pub applied: i64,
}

/// Who takes from a quota holds its row.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_usage_quotas", history = false)]
pub struct UsageQuota {
    /// The service.
    pub app: String,
}

/// The tables that an admin database must have for the usage.
#[must_use]
pub fn entities() -> Vec<&'static EntityDef> {
    vec![UsageCounter::definition(), UsageSpool::definition(), UsageQuota::definition()]
}

/// A stretch of a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stretch {
    pub(super) spool: String,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Up to where a file is applied.
pub(super) async fn applied(admin: &Db, spool: &str) -> Result<u64> {
    let known = admin.get::<UsageSpool>(spool).await?;
    Ok(known.map_or(0, |known| u64::try_from(known.applied).unwrap_or(0)))
}

/// Adds what a stretch of a file holds, unless that was done before: then nothing changes, and it answers false.
pub(super) async fn apply(admin: &Db, app: &str, stretch: &Stretch, cells: &BTreeMap<Cell, Sums>) -> Result<bool> {
    let place = |place: u64| Value::Int(i64::try_from(place).unwrap_or(i64::MAX));
    let done = admin.transaction(async |tx| {
        make_row(&tx, "kernel_usage_spools", &stretch.spool, &[("app", Value::from(app)), ("applied", Value::Int(0))])
            .await?;
        let sql = "UPDATE [kernel_usage_spools] SET [applied] = ?, [updated_at] = ? WHERE [id] = ? AND [applied] = ?";
        let now = Value::Timestamp(tx.now());
        if tx.execute(sql, (place(stretch.to), now, stretch.spool.as_str(), place(stretch.from))).await? == 0 {
            return Ok(false);
        }
        add(&tx, app, cells).await?;
        Ok(true)
    });
    done.await
}

/// Forgets a file that is gone.
pub(super) async fn forget(admin: &Db, spool: &str) -> Result<()> {
    admin.execute("DELETE FROM [kernel_usage_spools] WHERE [id] = ?", [spool]).await.map(drop)
}

/// Adds to counters.
pub(super) async fn add(tx: &Db, app: &str, cells: &BTreeMap<Cell, Sums>) -> Result<()> {
    // One order for all processes, so that they wait for each other instead of locking each other out.
    let mut rows: Vec<(String, &Cell, &Sums)> = cells.iter().map(|(cell, sums)| (cell.id(app), cell, sums)).collect();
    rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    for chunk in rows.chunks(ROWS_AT_ONCE) {
        let mut rest = chunk;
        while !rest.is_empty() {
            // A few lengths only, so that few statements are prepared.
            let (now, later) = rest.split_at(1 << rest.len().ilog2());
            let params: Vec<Value> = now.iter().flat_map(|(id, cell, sums)| row(tx, app, id, cell, sums)).collect();
            tx.execute(addition(tx.backend(), now.len()), params).await?;
            rest = later;
        }
    }
    Ok(())
}

const COLUMNS: [&str; 15] = [
    "id",
    "app",
    "day",
    "metric",
    "endpoint",
    "status",
    "user_id",
    "workspace_id",
    "key_id",
    "value",
    "latency_us",
    "bytes",
    "created_at",
    "updated_at",
    "version",
];

fn row(tx: &Db, app: &str, id: &str, cell: &Cell, sums: &Sums) -> [Value; COLUMNS.len()] {
    let Cell { day, metric, endpoint, status, who: Who { user_id, workspace_id, key_id } } = cell;
    let optional = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
    let now = Value::Timestamp(tx.now());
    [
        Value::from(id),
        Value::from(app),
        Value::from(day.as_str()),
        Value::from(metric.as_str()),
        optional(endpoint),
        status.map_or(Value::Null, |status| Value::Int(i64::from(status))),
        optional(user_id),
        optional(workspace_id),
        optional(key_id),
        Value::Int(sums.value),
        Value::Int(sums.latency_us),
        Value::Int(sums.bytes),
        now.clone(),
        now,
        Value::Int(1),
    ]
}

fn addition(backend: Backend, rows: usize) -> String {
    let names = COLUMNS.map(|name| format!("[{name}]")).join(", ");
    let places = format!("({})", list_of("?", COLUMNS.len()));
    let values = list_of(&places, rows);
    let sums = |new: fn(&str) -> String| {
        let sum =
            ["value", "latency_us", "bytes"].map(|name| format!("[{name}] = [kernel_usage].[{name}] + {}", new(name)));
        format!("{}, [updated_at] = {}", sum.join(", "), new("updated_at"))
    };
    let add = match backend {
        Backend::MySql => format!("ON DUPLICATE KEY UPDATE {}", sums(|name| format!("VALUES([{name}])"))),
        Backend::Sqlite | Backend::Postgres => {
            format!("ON CONFLICT ([id]) DO UPDATE SET {}", sums(|name| format!("excluded.[{name}]")))
        }
    };
    format!("INSERT INTO [kernel_usage] ({names}) VALUES {values} {add}")
}

/// Makes a row where there is none of this id; waits for another who is making it.
pub(super) async fn make_row(tx: &Db, table: &str, id: &str, own: &[(&str, Value)]) -> Result<()> {
    let (ignore, nothing) = match tx.backend() {
        Backend::MySql => (" IGNORE", ""),
        Backend::Sqlite | Backend::Postgres => ("", " ON CONFLICT DO NOTHING"),
    };
    let now = Value::Timestamp(tx.now());
    let automatic =
        [("id", Value::from(id)), ("created_at", now.clone()), ("updated_at", now), ("version", Value::Int(1))];
    let columns: Vec<&(&str, Value)> = automatic.iter().chain(own).collect();
    let names = columns.iter().map(|(name, _)| format!("[{name}]")).collect::<Vec<_>>().join(", ");
    let places = list_of("?", columns.len());
    let sql = format!("INSERT{ignore} INTO [{table}] ({names}) VALUES ({places}){nothing}");
    tx.execute(sql, columns.into_iter().map(|(_, value)| value.clone()).collect::<Vec<_>>()).await.map(drop)
}
