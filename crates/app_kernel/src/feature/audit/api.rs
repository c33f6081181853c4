//! Asking the audit, and purging it.

use std::future::IntoFuture;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::store::{self, AuditLog, locked_chain};
use crate::base::clock::{Timestamp, iso, parse_moment};
use crate::base::error::{Error, Result};
use crate::store::db::row::Saved;
use crate::store::db::value::Value;
use crate::store::db::{Db, Page};

/// Entries that are purged in one transaction, so that the relay need not wait for long.
const PURGED_AT_ONCE: i64 = 5000;

/// Who changed what, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// The event's id.
    pub id: String,
    /// The service.
    pub app: String,
    /// `created`, `updated`, `soft_deleted` or `deleted`.
    pub action: String,
    /// The entity's name.
    pub entity: String,
    /// The row.
    pub entity_id: String,
    /// Which version of it.
    pub entity_version: i64,
    /// The fields that changed: `{"size": {"old": 3, "new": 4}}`. Secrets are left out. Absent where the row's history was purged before the
    /// change was carried here.
    pub changes: Option<Json>,
    /// How the caller proved who they are: `user`, `api_key`, `anonymous` or `system`.
    pub caller: String,
    /// Who, where it was a user.
    pub user_id: Option<String>,
    /// The workspace that the request was about.
    pub workspace_id: Option<String>,
    /// In which request, where it was one.
    pub request_id: Option<String>,
    /// When.
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    pub timestamp: Timestamp,
}

impl From<Saved<AuditLog>> for AuditEntry {
    fn from(entry: Saved<AuditLog>) -> Self {
        let Saved { id, entity: log, .. } = entry;
        AuditEntry {
            id,
            app: log.app,
            action: log.action,
            entity: log.entity,
            entity_id: log.entity_id,
            entity_version: log.entity_version,
            changes: log.changes.and_then(|text| serde_json::from_str(&text).ok()),
            caller: log.caller,
            user_id: log.user_id,
            workspace_id: log.workspace_id,
            request_id: log.request_id,
            timestamp: log.changed_at,
        }
    }
}

/// The audit's entries in an admin database, the newest first; see [`GetAuditLogs`] for what narrows them.
pub fn get_audit_logs(admin_db: &Db) -> GetAuditLogs {
    GetAuditLogs {
        admin: admin_db.clone(),
        clauses: Vec::new(),
        params: Vec::new(),
        cursor: None,
        limit: 100,
        refusal: None,
    }
}

/// A question to the audit; see [`get_audit_logs`].
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited"]
pub struct GetAuditLogs {
    admin: Db,
    clauses: Vec<&'static str>,
    params: Vec<Value>,
    cursor: Option<String>,
    limit: u32,
    refusal: Option<Error>,
}

impl GetAuditLogs {
    fn only(mut self, clause: &'static str, value: impl Into<Value>) -> Self {
        self.clauses.push(clause);
        self.params.push(value.into());
        self
    }

    fn only_from(self, name: &str, clause: &'static str, moment: &str) -> Self {
        match parse_moment(moment) {
            Some(moment) => self.only(clause, Value::Timestamp(moment)),
            None => {
                let problem = "must be a day such as 2025-01-01, or a time such as 2025-01-01T12:00:00Z";
                let refusal = Error::invalid("a time can't be read").field(format!("/{name}"), problem);
                GetAuditLogs { refusal: Some(refusal), ..self }
            }
        }
    }

    /// Of this service. Without it, of all that share the admin database.
    pub fn app(self, app: impl Into<String>) -> Self {
        self.only("[app] = ?", app.into())
    }

    /// Of this entity, by name.
    pub fn entity(self, entity: impl Into<String>) -> Self {
        self.only("[entity] = ?", entity.into())
    }

    /// Of this row.
    pub fn entity_id(self, id: impl Into<String>) -> Self {
        self.only("[entity_id] = ?", id.into())
    }

    /// By this user.
    pub fn user(self, user_id: impl Into<String>) -> Self {
        self.only("[user_id] = ?", user_id.into())
    }

    /// In this workspace.
    pub fn workspace(self, workspace_id: impl Into<String>) -> Self {
        self.only("[workspace_id] = ?", workspace_id.into())
    }

    /// Only this: `created`, `updated`, `soft_deleted` or `deleted`.
    pub fn action(self, action: impl Into<String>) -> Self {
        self.only("[action] = ?", action.into())
    }

    /// From this day or time on: `2025-01-01`, `2025-01-01T12:00:00Z`; days begin in UTC.
    pub fn since(self, moment: impl AsRef<str>) -> Self {
        self.only_from("since", "[changed_at] >= ?", moment.as_ref())
    }

    /// Before this day or time.
    pub fn until(self, moment: impl AsRef<str>) -> Self {
        self.only_from("until", "[changed_at] < ?", moment.as_ref())
    }

    /// The page after the one whose `next` this is.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// At most so many: 100 where not said, 10,000 at most.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }
}

impl IntoFuture for GetAuditLogs {
    type Output = Result<Page<AuditEntry>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            if let Some(refusal) = self.refusal {
                return Err(refusal);
            }
            let find = self.admin.find::<AuditLog>(self.clauses.join(" AND "), self.params);
            let find = find.order_by("[changed_at] DESC, [app] ASC, [position] DESC").limit(self.limit);
            let find = self.cursor.into_iter().fold(find, |find, cursor| find.after(cursor));
            let Page { items, next } = find.page().await?;
            Ok(Page { items: items.into_iter().map(AuditEntry::from).collect(), next })
        })
    }
}

/// Deletes the entries of an app that are older than `before`, from the beginning of its chain up to the first that is not. Answers how many went.
///
/// # Errors
/// Those of the database.
pub async fn purge_audit_logs(admin_db: &Db, app: &str, before: Timestamp) -> Result<u64> {
    let mut purged = 0;
    loop {
        let went = admin_db.transaction(async |tx| purge_some(&tx, app, before).await).await?;
        purged += went;
        if went == 0 {
            return Ok(purged);
        }
    }
}

async fn purge_some(tx: &Db, app: &str, before: Timestamp) -> Result<u64> {
    let chain = locked_chain(tx, app).await?;
    let kept = tx.find::<AuditLog>("[app] = ? AND [changed_at] >= ?", (app, Value::Timestamp(before)));
    let kept = kept.order_by("[position]").first().await?;
    let last = kept.map_or(chain.length, |kept| kept.position - 1).min(chain.purged + PURGED_AT_ONCE);
    let entry = tx.find::<AuditLog>("[app] = ? AND [position] = ?", (app, last)).first().await?;
    match entry.filter(|_| last > chain.purged) {
        Some(entry) => store::purge_to(tx, app, last, &entry.hash).await,
        None => Ok(0),
    }
}
