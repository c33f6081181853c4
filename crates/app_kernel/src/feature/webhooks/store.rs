//! The tables of webhooks, and the statements on them. Those that move a delivery name the state that they leave, so that of two who want the
//! same only one does it.

use super::model::{DeliveryState, DisabledBecause, LONGEST_GAP, Outcome};
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::id::new_id;
use crate::base::secret::Secret;
use crate::store::db::Db;
use crate::store::db::entity::{Entity, EntityDef};
use crate::store::db::row::{Row, Saved};

/// The most webhooks of a workspace.
pub(super) const MOST_WEBHOOKS: u32 = 1000;
/// How many rows one statement makes, changes or deletes.
pub(super) const BATCH: usize = 500;

/// An address of a workspace that is told of events. Softly deleted. Its id never changes; secrets are sealed for it.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_webhooks")]
pub struct Webhook {
    /// Whose it is.
    #[entity(index, foreign_key = "kernel_workspaces.id")]
    pub workspace_id: String,
    /// Where it is.
    pub url: String,
    /// What people say about it.
    pub description: Option<String>,
    /// What signs, sealed.
    pub sealed_secret: Secret,
    /// What has signed before the last rotation, sealed.
    pub previous_secret: Option<Secret>,
    /// Until when that signs too.
    pub previous_until: Option<Timestamp>,
    /// Whether it is told of events.
    #[entity(default = true)]
    pub is_enabled: bool,
    /// Since when it is not.
    pub disabled_at: Option<Timestamp>,
    /// Why it is not.
    pub disabled_because: Option<DisabledBecause>,
    /// Since when every try has failed; none where the last one has not. Written beside the versions, as is the next one.
    pub failing_since: Option<Timestamp>,
    /// When the last try failed, while they do.
    pub last_failed_at: Option<Timestamp>,
}

/// Something that happened. Its id is the header `webhook-id`.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_webhook_events", history = false)]
pub struct WebhookEvent {
    /// Where it happened.
    pub workspace_id: String,
    /// What.
    pub event: String,
    /// The bytes that are sent.
    pub body: String,
}

/// One event to one webhook.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_webhook_deliveries", history = false)]
pub struct WebhookDelivery {
    /// The webhook.
    #[entity(index)]
    pub webhook_id: String,
    /// The event.
    #[entity(index)]
    pub event_id: String,
    /// The event's name.
    pub event: String,
    /// Where it is in its life.
    pub state: DeliveryState,
    /// How many tries there were.
    #[entity(default = 0)]
    pub attempts: i64,
    /// How many of them have failed since it was last begun.
    #[entity(default = 0)]
    pub failures: i64,
    /// When the next try is due, about.
    pub next_attempt_at: Option<Timestamp>,
    /// The status of the last try's answer.
    pub last_status: Option<i64>,
    /// How the last try ended.
    pub last_outcome: Option<Outcome>,
}

/// One try.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_webhook_attempts", history = false)]
pub struct WebhookAttempt {
    /// Of what.
    #[entity(index)]
    pub delivery_id: String,
    /// The how manieth, from 1.
    pub number: i64,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// The answer's status.
    pub status: Option<i64>,
    /// The beginning of the answer's body.
    pub answer: Option<String>,
    /// Why there was no answer, in words.
    pub error: Option<String>,
}

/// The tables that must exist.
pub(crate) fn entities() -> Vec<&'static EntityDef> {
    vec![Webhook::definition(), WebhookEvent::definition(), WebhookDelivery::definition(), WebhookAttempt::definition()]
}

// --- webhooks --------------------------------------------------------------------------------------------------------------------------

/// The living webhooks of a workspace, the oldest first.
pub(super) async fn webhooks_of(db: &Db, workspace_id: &str) -> Result<Vec<Saved<Webhook>>> {
    db.find::<Webhook>("[workspace_id] = ?", [workspace_id]).order_by("[created_at]").limit(MOST_WEBHOOKS).await
}

pub(super) async fn count_of(db: &Db, workspace_id: &str) -> Result<i64> {
    db.count::<Webhook>("[workspace_id] = ?", [workspace_id]).await
}

/// A living webhook of a workspace.
pub(super) async fn webhook_of(db: &Db, workspace_id: &str, id: &str) -> Result<Option<Saved<Webhook>>> {
    db.find::<Webhook>("[workspace_id] = ? AND [id] = ?", [workspace_id, id]).first().await
}

/// Who is to be told of something.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) webhook_id: String,
    /// Whether its tries fail at present.
    pub(super) is_failing: bool,
}

/// The enabled webhooks of a living workspace.
pub(super) async fn targets(db: &Db, workspace_id: &str) -> Result<Vec<Target>> {
    let sql = "SELECT [id], [failing_since] FROM [kernel_webhooks] WHERE [workspace_id] = ? AND [is_enabled] = TRUE AND [deleted_at] IS NULL \
               AND EXISTS (SELECT 1 FROM [kernel_workspaces] AS w WHERE w.[id] = ? AND w.[deleted_at] IS NULL)";
    let rows = db.query(sql, [workspace_id, workspace_id]).await?;
    let read = |row: &Row| Target { webhook_id: row.id().to_owned(), is_failing: !row["failing_since"].is_null() };
    Ok(rows.iter().map(read).collect())
}

/// Notes that a try has failed: a streak of failures begins, or goes on.
pub(super) async fn note_failure(tx: &Db, webhook_id: &str, now: Timestamp) -> Result<()> {
    // MySQL assigns from left to right: the streak is judged before its last failure is.
    let sql = "UPDATE [kernel_webhooks] SET [failing_since] = CASE WHEN [failing_since] IS NULL OR [last_failed_at] IS NULL \
               OR [last_failed_at] < ? THEN ? ELSE [failing_since] END, [last_failed_at] = ? WHERE [id] = ?";
    tx.execute(sql, (now - LONGEST_GAP, now, now, webhook_id)).await.map(drop)
}

/// Notes that a try has not failed, where one had before.
pub(super) async fn note_success(tx: &Db, webhook_id: &str) -> Result<()> {
    let sql = "UPDATE [kernel_webhooks] SET [failing_since] = NULL, [last_failed_at] = NULL WHERE [id] = ? AND [failing_since] IS NOT NULL";
    tx.execute(sql, [webhook_id]).await.map(drop)
}

/// Puts the same secrets under another seal, unless somebody has changed them meanwhile.
pub(super) async fn replace_seals(
    db: &Db,
    webhook: &Saved<Webhook>,
    sealed: &Secret,
    previous: Option<&Secret>,
) -> Result<()> {
    let sql = "UPDATE [kernel_webhooks] SET [sealed_secret] = ?, [previous_secret] = ? WHERE [id] = ? AND [sealed_secret] = ?";
    let (previous, present) = (previous.map(Secret::expose), webhook.sealed_secret.expose());
    db.execute(sql, (sealed.expose(), previous, webhook.id.as_str(), present)).await.map(drop)
}

// --- deliveries ------------------------------------------------------------------------------------------------------------------------

/// Makes a delivery of an event to each of these webhooks, [`BATCH`] with each statement. Answers their ids in the same order.
pub(super) async fn insert_deliveries<'a>(
    tx: &Db,
    event_id: &str,
    event: &str,
    webhook_ids: impl IntoIterator<Item = &'a str>,
    now: Timestamp,
) -> Result<Vec<String>> {
    let new: Vec<(String, &str)> = webhook_ids.into_iter().map(|id| (new_id(), id)).collect();
    for chunk in new.chunks(BATCH) {
        let mut sql = tx.sql(
            "INSERT INTO [kernel_webhook_deliveries] ([id], [webhook_id], [event_id], [event], [state], [next_attempt_at], [created_at], \
             [updated_at], [version], [attempts], [failures]) VALUES ",
        );
        for (i, (id, webhook_id)) in chunk.iter().enumerate() {
            sql = sql.text(if i == 0 { "(" } else { ", (" }).bind(id.as_str()).text(", ").bind(*webhook_id).text(", ");
            sql = sql.bind(event_id).text(", ").bind(event).text(", ").bind(DeliveryState::Pending).text(", ");
            sql = sql.bind(now).text(", ").bind(now).text(", ").bind(now).text(", 1, 0, 0)");
        }
        sql.execute(tx).await?;
    }
    Ok(new.into_iter().map(|(id, _)| id).collect())
}

/// Keeps how a try ended, and what the delivery is by that. False where another has done so already.
pub(super) async fn record(
    tx: &Db,
    before: &Saved<WebhookDelivery>,
    after: &WebhookDelivery,
    now: Timestamp,
) -> Result<bool> {
    let sql = tx.sql("UPDATE [kernel_webhook_deliveries] SET [state] = ").bind(after.state);
    let sql = sql.text(", [attempts] = ").bind(after.attempts).text(", [failures] = ").bind(after.failures);
    let sql = sql
        .text(", [next_attempt_at] = ")
        .bind(after.next_attempt_at)
        .text(", [last_status] = ")
        .bind(after.last_status);
    let sql = sql.text(", [last_outcome] = ").bind(after.last_outcome).text(", [updated_at] = ").bind(now);
    let sql = sql.text(" WHERE [id] = ").bind(before.id.as_str()).text(" AND [state] = 'pending' AND [attempts] = ");
    Ok(sql.bind(before.attempts).execute(tx).await? > 0)
}

/// Makes deliveries that are at their end pending again. Answers how many were.
pub(super) async fn begin_again(tx: &Db, ids: &[String], now: Timestamp) -> Result<u64> {
    let sql = tx
        .sql("UPDATE [kernel_webhook_deliveries] SET [state] = 'pending', [failures] = 0, [next_attempt_at] = ")
        .bind(now);
    let sql = sql.text(", [updated_at] = ").bind(now).text(" WHERE [state] <> 'pending' AND [id] IN ").list(ids);
    sql.execute(tx).await
}

/// The deliveries of a webhook that have failed, of events since then, behind this one: up to [`BATCH`], the oldest first.
pub(super) async fn failed_since(
    db: &Db,
    webhook_id: &str,
    since: Timestamp,
    behind: &str,
) -> Result<Vec<Saved<WebhookDelivery>>> {
    let clause = "[webhook_id] = ? AND [state] = ? AND [created_at] >= ? AND [id] > ?";
    let failed = db.find::<WebhookDelivery>(clause, (webhook_id, DeliveryState::Failed, since, behind));
    failed.order_by("[id]").limit(BATCH as u32).await
}

/// The tries of a delivery, the first first; of very many, the last.
pub(super) async fn attempts_of(db: &Db, delivery_id: &str) -> Result<Vec<Saved<WebhookAttempt>>> {
    let last =
        db.find::<WebhookAttempt>("[delivery_id] = ?", [delivery_id]).order_by("[number] DESC").limit(100).await?;
    Ok(last.into_iter().rev().collect())
}

// --- sweeping out ----------------------------------------------------------------------------------------------------------------------

/// Up to [`BATCH`] deliveries behind this one, the oldest first.
pub(super) async fn oldest_deliveries(db: &Db, behind: &str) -> Result<Vec<Saved<WebhookDelivery>>> {
    db.find::<WebhookDelivery>("[id] > ?", [behind]).order_by("[id]").limit(BATCH as u32).await
}

/// Of up to [`BATCH`] events behind this one, the oldest first, those from before `until`, with whether there are deliveries of them left.
/// Looks at no more rows than that, and at no bodies.
pub(super) async fn oldest_events(db: &Db, behind: &str, until: Timestamp) -> Result<Vec<(String, bool)>> {
    let first =
        "SELECT [id] FROM (SELECT [id], [created_at] FROM [kernel_webhook_events] WHERE [id] > ? ORDER BY [id] LIMIT";
    let sql = format!("{first} {BATCH}) AS oldest WHERE [created_at] < ? ORDER BY [id]");
    let events = db.query(sql, (behind, until)).await?;
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let left = db.sql("SELECT DISTINCT [event_id] AS [id] FROM [kernel_webhook_deliveries] WHERE [event_id] IN ");
    let left = left.list(events.iter().map(Row::id)).query(db).await?;
    let left: std::collections::BTreeSet<&str> = left.iter().map(Row::id).collect();
    Ok(events.iter().map(|event| (event.id().to_owned(), left.contains(event.id()))).collect())
}

/// Deletes deliveries with their tries.
pub(super) async fn delete_deliveries(db: &Db, ids: &[String]) -> Result<()> {
    db.sql("DELETE FROM [kernel_webhook_attempts] WHERE [delivery_id] IN ").list(ids).execute(db).await?;
    // One that is sent once more just now stays.
    let sql = db.sql("DELETE FROM [kernel_webhook_deliveries] WHERE [state] <> 'pending' AND [id] IN ").list(ids);
    sql.execute(db).await.map(drop)
}

/// Deletes events.
pub(super) async fn delete_events(db: &Db, ids: &[String]) -> Result<()> {
    db.sql("DELETE FROM [kernel_webhook_events] WHERE [id] IN ").list(ids).execute(db).await.map(drop)
}
