//! The table of writes that must be done once, and its statements. Each names the holder whose row it changes.

use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::store::db::entity::{Entity, EntityDef};
use crate::store::db::value::Value;
use crate::store::db::{Backend, Db};

const TABLE: &str = "kernel_idempotency_keys";

/// A key; its id is the hash of the key and of what it belongs to.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_idempotency_keys", history = false)]
pub(super) struct IdempotencyKey {
    /// The hash of what was asked.
    pub(super) fingerprint: String,
    /// Whether it is being done.
    pub(super) is_running: bool,
    /// Who does it, or did.
    pub(super) holder: String,
    /// While it runs, when its lease ends; then, until when it is kept.
    #[entity(index)]
    pub(super) due_at: Timestamp,
    /// The sealed answer.
    pub(super) answer: Option<Vec<u8>>,
}

/// The tables of this engine.
pub(crate) fn entities() -> Vec<&'static EntityDef> {
    vec![IdempotencyKey::definition()]
}

/// A key that is taken.
pub(super) struct Found {
    pub(super) fingerprint: String,
    pub(super) is_running: bool,
    pub(super) lease_is_over: bool,
    pub(super) holder: String,
    pub(super) due_at: Timestamp,
    pub(super) answer: Option<Vec<u8>>,
}

/// Takes a key that nobody has. Answers whether it did.
pub(super) async fn reserve(db: &Db, id: &str, fingerprint: &str, holder: &str, lease: Duration) -> Result<bool> {
    let (ignore, nothing) = match db.backend() {
        Backend::MySql => (" IGNORE", ""),
        Backend::Sqlite | Backend::Postgres => ("", " ON CONFLICT DO NOTHING"),
    };
    let columns = "[id], [fingerprint], [holder], [is_running], [due_at], [created_at], [updated_at], [version]";
    let inserted = db
        .sql(format!("INSERT{ignore} INTO [{TABLE}] ({columns}) VALUES ("))
        .bind(id)
        .text(", ")
        .bind(fingerprint)
        .text(", ")
        .bind(holder)
        .text(", ")
        .bind(true)
        .text(", ")
        .later(lease)
        .text(", ")
        .now()
        .text(", ")
        .now()
        .text(&format!(", 1){nothing}"))
        .execute(db)
        .await?;
    Ok(inserted > 0)
}

pub(super) async fn find(db: &Db, id: &str) -> Result<Option<Found>> {
    let Some(row) = db.get::<IdempotencyKey>(id).await? else { return Ok(None) };
    let lease_is_over = row.entity.is_running && {
        // By the clock that gave the lease.
        let sql = db.sql(format!("SELECT [id] FROM [{TABLE}] WHERE [id] = ")).bind(id).text(" AND [holder] = ");
        let sql = sql.bind(row.entity.holder.as_str()).text(" AND [is_running] = ").bind(true);
        !sql.text(" AND [due_at] < ").now().query(db).await?.is_empty()
    };
    let IdempotencyKey { fingerprint, is_running, holder, due_at, answer } = row.entity;
    Ok(Some(Found { fingerprint, is_running, lease_is_over, holder, due_at, answer }))
}

pub(super) async fn renew(db: &Db, id: &str, holder: &str, lease: Duration) -> Result<()> {
    let renewal = db.sql(format!("UPDATE [{TABLE}] SET [due_at] = ")).later(lease).text(" WHERE [id] = ").bind(id);
    let renewal = renewal.text(" AND [holder] = ").bind(holder).text(" AND [is_running] = ").bind(true);
    renewal.execute(db).await.map(drop)
}

pub(super) async fn keep(db: &Db, id: &str, holder: &str, answer: Option<Vec<u8>>, until: Timestamp) -> Result<()> {
    let kept = db.sql(format!("UPDATE [{TABLE}] SET [is_running] = ")).bind(false).text(", [due_at] = ").bind(until);
    let kept = kept.text(", [answer] = ").bind(answer.map_or(Value::Null, Value::Bytes));
    kept.text(" WHERE [id] = ").bind(id).text(" AND [holder] = ").bind(holder).execute(db).await.map(drop)
}

pub(super) async fn remove(db: &Db, id: &str, holder: &str) -> Result<()> {
    db.execute(format!("DELETE FROM [{TABLE}] WHERE [id] = ? AND [holder] = ?"), (id, holder)).await.map(drop)
}

/// Deletes some of the answers that were kept until now, and of the writes that nobody knows the end of since `given_up`.
pub(super) async fn sweep(db: &Db, now: Timestamp, given_up: Timestamp, most: u32) -> Result<usize> {
    let over = "([is_running] = ? AND [due_at] <= ?) OR [due_at] <= ?";
    let rows = db.query(
        format!("SELECT [id] FROM [{TABLE}] WHERE {over} ORDER BY [due_at] LIMIT {most}"),
        (false, now, given_up),
    );
    let ids: Vec<Value> = rows.await?.iter().map(|row| row["id"].clone()).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    let count = ids.len();
    let gone = db.sql(format!("DELETE FROM [{TABLE}] WHERE [id] IN ")).list(ids);
    gone.execute(db).await?;
    Ok(count)
}
