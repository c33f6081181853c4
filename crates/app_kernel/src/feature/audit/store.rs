//! The tables of the audit, in the admin database, and how events get into them: once each, in one chain for each app.

use std::collections::HashSet;

use super::model::{BEGINNING, Event};
use crate::base::clock::Timestamp;
use crate::base::error::{OrInternal as _, Result};
use crate::store::db::entity::{Entity, EntityDef};
use crate::store::db::places::list_of;
use crate::store::db::row::Saved;
use crate::store::db::value::Value;
use crate::store::db::{Backend, Db};

/// Entries that one statement writes.
const ROWS_AT_ONCE: usize = 32;

/// One change of one row. Its id is the event's, so that a change that is delivered twice is there once.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_audit_log", history = false, unique(app, position), index(app, changed_at))]
pub struct AuditLog {
    /// The service whose change it was.
    pub app: String,
    /// Its number in the chain of the app, from 1.
    pub position: i64,
    /// The entity's name.
    pub entity: String,
    /// The row.
    #[entity(index)]
    pub entity_id: String,
    /// Which version of it.
    pub entity_version: i64,
    /// `created`, `updated`, `soft_deleted` or `deleted`.
    pub action: String,
    /// The fields that changed, as JSON text.
    pub changes: Option<String>,
    /// How the caller proved who they are.
    pub caller: String,
    /// Who.
    #[entity(index)]
    pub user_id: Option<String>,
    /// Where.
    pub workspace_id: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
    /// When.
    pub changed_at: Timestamp,
    /// Over this entry and the hash before it.
    pub hash: String,
}

/// Where the chain of an app ends, and where it begins since it was purged. Its id is the app's name.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_audit_chains", history = false)]
pub struct AuditChain {
    /// The number of the last entry.
    pub length: i64,
    /// Its hash.
    pub hash: String,
    /// The number of the last entry that was purged.
    pub purged: i64,
    /// Its hash: what the first entry that is left is chained to.
    pub purged_hash: String,
}

/// The tables that an admin database must have for the audit.
#[must_use]
pub fn entities() -> Vec<&'static EntityDef> {
    vec![AuditLog::definition(), AuditChain::definition()]
}

impl AuditLog {
    /// The event that an entry was made from.
    pub(super) fn event(entry: &Saved<Self>) -> Event {
        let log = entry.entity.clone();
        Event {
            id: entry.id.clone(),
            app: log.app,
            entity: log.entity,
            entity_id: log.entity_id,
            entity_version: log.entity_version,
            action: log.action,
            changes: log.changes,
            caller: log.caller,
            user_id: log.user_id,
            workspace_id: log.workspace_id,
            request_id: log.request_id,
            changed_at: log.changed_at,
        }
    }
}

/// Adds events of one app that are not there yet, in their order. All or none.
pub(super) async fn append(admin: &Db, app: &str, events: &[Event]) -> Result<()> {
    admin.transaction(async |tx| append_in(&tx, app, events).await).await
}

async fn append_in(tx: &Db, app: &str, events: &[Event]) -> Result<()> {
    let mut chain = locked_chain(tx, app).await?;
    let there: HashSet<String> = tx
        .get_many::<AuditLog>(events.iter().map(|event| event.id.as_str()))
        .await?
        .into_iter()
        .map(|log| log.id)
        .collect();
    let mut seen = HashSet::new();
    let new = events.iter().filter(|event| !there.contains(&event.id) && seen.insert(event.id.as_str()));
    let new: Vec<&Event> = new.collect();
    if new.is_empty() {
        return Ok(());
    }
    let now = tx.now();
    for chunk in new.chunks(ROWS_AT_ONCE) {
        let mut params = Vec::with_capacity(chunk.len() * COLUMNS.len());
        for event in chunk {
            chain.length += 1;
            chain.hash = event.link(&chain.hash, chain.length);
            params.extend(row(event, &chain, now));
        }
        // A few lengths only, so that few statements are prepared.
        let mut rest = params.as_slice();
        while !rest.is_empty() {
            let rows = 1 << (rest.len() / COLUMNS.len()).ilog2();
            let (now, later) = rest.split_at(rows * COLUMNS.len());
            let places = format!("({})", list_of("?", COLUMNS.len()));
            let sql = format!("INSERT INTO [kernel_audit_log] ({}) VALUES {}", names(), list_of(&places, rows));
            tx.execute(sql, now).await?;
            rest = later;
        }
    }
    let sql = "UPDATE [kernel_audit_chains] SET [length] = ?, [hash] = ?, [updated_at] = ? WHERE [id] = ?";
    tx.execute(sql, (chain.length, chain.hash.as_str(), Value::Timestamp(now), app)).await.map(drop)
}

const COLUMNS: [&str; 18] = [
    "id",
    "app",
    "position",
    "entity",
    "entity_id",
    "entity_version",
    "action",
    "changes",
    "caller",
    "user_id",
    "workspace_id",
    "request_id",
    "changed_at",
    "hash",
    "created_at",
    "updated_at",
    "deleted_at",
    "version",
];

fn names() -> String {
    COLUMNS.map(|name| format!("[{name}]")).join(", ")
}

fn row(event: &Event, chain: &AuditChain, now: Timestamp) -> [Value; COLUMNS.len()] {
    let optional = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
    [
        Value::from(event.id.as_str()),
        Value::from(event.app.as_str()),
        Value::Int(chain.length),
        Value::from(event.entity.as_str()),
        Value::from(event.entity_id.as_str()),
        Value::Int(event.entity_version),
        Value::from(event.action.as_str()),
        optional(&event.changes),
        Value::from(event.caller.as_str()),
        optional(&event.user_id),
        optional(&event.workspace_id),
        optional(&event.request_id),
        Value::Timestamp(event.changed_at),
        Value::from(chain.hash.as_str()),
        Value::Timestamp(now),
        Value::Timestamp(now),
        Value::Null,
        Value::Int(1),
    ]
}

/// The chain of an app. Until the transaction ends nobody else adds to it.
pub(super) async fn locked_chain(tx: &Db, app: &str) -> Result<AuditChain> {
    const LOCK: &str = "UPDATE [kernel_audit_chains] SET [updated_at] = [updated_at] WHERE [id] = ?";
    if tx.execute(LOCK, [app]).await? == 0 {
        let (ignore, nothing) = match tx.backend() {
            Backend::MySql => (" IGNORE", ""),
            Backend::Sqlite | Backend::Postgres => ("", " ON CONFLICT DO NOTHING"),
        };
        let sql = format!(
            "INSERT{ignore} INTO [kernel_audit_chains] ([id], [length], [hash], [purged], [purged_hash], [created_at], [updated_at], [version]) \
             VALUES (?, 0, ?, 0, ?, ?, ?, 1){nothing}"
        );
        let now = Value::Timestamp(tx.now());
        tx.execute(sql, (app, BEGINNING, BEGINNING, now.clone(), now)).await?;
        // Another process may have made it: then this waits for that one.
        tx.execute(LOCK, [app]).await?;
    }
    let chain = chain(tx, app).await?;
    chain.ok_or("it is not there").or_internal("making the chain of the audit")
}

/// The chain of an app, where it has any entries.
pub(super) async fn chain(db: &Db, app: &str) -> Result<Option<AuditChain>> {
    Ok(db.get::<AuditChain>(app).await?.map(|chain| chain.entity))
}

/// The apps whose audit lies here.
pub(super) async fn apps(admin: &Db) -> Result<Vec<String>> {
    let chains = admin.query("SELECT [id] FROM [kernel_audit_chains] ORDER BY [id]", ()).await?;
    Ok(chains.iter().map(|chain| chain.id().to_owned()).collect())
}

/// Deletes the entries of an app up to a number, which become the beginning of the chain. `hash` is that of the last of them.
pub(super) async fn purge_to(tx: &Db, app: &str, position: i64, hash: &str) -> Result<u64> {
    let sql = "UPDATE [kernel_audit_chains] SET [purged] = ?, [purged_hash] = ? WHERE [id] = ?";
    tx.execute(sql, (position, hash, app)).await?;
    tx.execute("DELETE FROM [kernel_audit_log] WHERE [app] = ? AND [position] <= ?", (app, position)).await
}
