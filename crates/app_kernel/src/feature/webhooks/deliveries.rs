//! The log of deliveries: what was sent, with what answers; sending once more.

use std::future::IntoFuture;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::deliver::{Due, Lane, enqueue};
use super::events::disabled;
use super::flows::existing;
use super::model::{DeliveryState, Outcome};
use super::store::{self, BATCH, WebhookAttempt, WebhookDelivery, WebhookEvent};
use crate::base::clock::{Timestamp, iso};
use crate::base::error::{Error, OrNotFound as _, Result};
use crate::store::db::row::Saved;
use crate::store::db::{Db, Page};

/// How many deliveries a page has where nothing is said, and at most.
const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 500;

/// One event to one webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "WebhookDelivery")]
#[non_exhaustive]
pub struct WebhookDeliveryInfo {
    /// Its identifier.
    pub id: String,
    /// The webhook.
    pub webhook_id: String,
    /// What the receiver sees as `webhook-id`.
    pub event_id: String,
    /// The event's name.
    pub event: String,
    /// Where it is in its life.
    pub state: DeliveryState,
    /// How many tries there were.
    pub attempts: i64,
    /// How the last one ended.
    pub last_outcome: Option<Outcome>,
    /// The status of its answer.
    pub last_status: Option<i64>,
    /// When the next one is due, about.
    #[serde(with = "iso::option")]
    #[schemars(with = "Option<Timestamp>")]
    pub next_attempt_at: Option<Timestamp>,
    /// When the event was.
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    pub created_at: Timestamp,
}

impl From<Saved<WebhookDelivery>> for WebhookDeliveryInfo {
    fn from(delivery: Saved<WebhookDelivery>) -> Self {
        let Saved { id, entity, created_at, .. } = delivery;
        WebhookDeliveryInfo {
            id,
            webhook_id: entity.webhook_id,
            event_id: entity.event_id,
            event: entity.event,
            state: entity.state,
            attempts: entity.attempts,
            last_outcome: entity.last_outcome,
            last_status: entity.last_status,
            next_attempt_at: entity.next_attempt_at,
            created_at,
        }
    }
}

/// One try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "WebhookAttempt")]
#[non_exhaustive]
pub struct WebhookAttemptInfo {
    /// The how manieth, from 1.
    pub number: i64,
    /// When it began.
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// The answer's status.
    pub status: Option<i64>,
    /// The first KiB of the answer's body.
    pub answer: Option<String>,
    /// Why there was no answer, in words.
    pub error: Option<String>,
}

impl From<Saved<WebhookAttempt>> for WebhookAttemptInfo {
    fn from(attempt: Saved<WebhookAttempt>) -> Self {
        let WebhookAttempt { number, started_at, duration_ms, outcome, status, answer, error, .. } = attempt.entity;
        WebhookAttemptInfo { number, started_at, duration_ms, outcome, status, answer, error }
    }
}

/// A delivery with what was sent and each try.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct WebhookDeliveryDetails {
    /// The delivery.
    #[serde(flatten)]
    pub info: WebhookDeliveryInfo,
    /// What was sent.
    pub body: Json,
    /// The tries, the first first; the last hundred of them.
    pub tries: Vec<WebhookAttemptInfo>,
}

/// The deliveries of a webhook, the newest first, a page at a time.
///
/// # Errors
/// 404 where it is not the workspace's.
pub fn list_webhook_deliveries(
    db: &Db,
    workspace_id: impl Into<String>,
    webhook_id: impl Into<String>,
) -> ListDeliveries {
    ListDeliveries {
        db: db.without_workspace(),
        workspace_id: workspace_id.into(),
        webhook_id: webhook_id.into(),
        state: None,
        limit: PAGE,
        after: None,
    }
}

/// Which deliveries; see [`list_webhook_deliveries`].
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited"]
pub struct ListDeliveries {
    db: Db,
    workspace_id: String,
    webhook_id: String,
    state: Option<DeliveryState>,
    limit: u32,
    after: Option<String>,
}

impl ListDeliveries {
    /// Only those in this state.
    pub fn state(mut self, state: DeliveryState) -> Self {
        self.state = Some(state);
        self
    }

    /// At most so many: 50 where not said, 500 at most.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// Those behind the page whose `next` this is.
    pub fn after(mut self, cursor: impl Into<String>) -> Self {
        self.after = Some(cursor.into());
        self
    }
}

impl IntoFuture for ListDeliveries {
    type Output = Result<Page<WebhookDeliveryInfo>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            existing(&self.db, &self.workspace_id, &self.webhook_id).await?;
            let find = match self.state {
                None => self.db.find::<WebhookDelivery>("[webhook_id] = ?", [self.webhook_id]),
                Some(state) => self.db.find("[webhook_id] = ? AND [state] = ?", (self.webhook_id, state)),
            };
            let find = find.order_by("[id] DESC").limit(self.limit.clamp(1, LARGEST_PAGE));
            let page = self.after.into_iter().fold(find, |find, cursor| find.after(cursor)).page().await?;
            Ok(Page { items: page.items.into_iter().map(Into::into).collect(), next: page.next })
        })
    }
}

async fn delivery_of(db: &Db, webhook_id: &str, delivery_id: &str) -> Result<Saved<WebhookDelivery>> {
    let found = db.get::<WebhookDelivery>(delivery_id).await?;
    found.filter(|delivery| delivery.webhook_id == webhook_id).or_not_found("delivery")
}

/// One of them, with what was sent and each try.
///
/// # Errors
/// 404 where it is not the webhook's, or the webhook not the workspace's.
pub async fn read_webhook_delivery(
    db: &Db,
    workspace_id: &str,
    webhook_id: &str,
    delivery_id: &str,
) -> Result<WebhookDeliveryDetails> {
    let db = db.without_workspace();
    existing(&db, workspace_id, webhook_id).await?;
    let delivery = delivery_of(&db, webhook_id, delivery_id).await?;
    let (event, attempts) = tokio::try_join!(
        async { db.get::<WebhookEvent>(&delivery.event_id).await },
        store::attempts_of(&db, delivery_id)
    )?;
    let body = event.and_then(|event| serde_json::from_str(&event.body).ok()).unwrap_or_default();
    let tries = attempts.into_iter().map(Into::into).collect();
    Ok(WebhookDeliveryDetails { info: delivery.into(), body, tries })
}

/// Sends one of them once more, whether it has failed or not: the same bytes, the same `webhook-id`.
///
/// # Errors
/// 404 where it is not the webhook's, 409 where it is under way already or the webhook is disabled.
pub async fn redeliver_webhook(
    db: &Db,
    workspace_id: &str,
    webhook_id: &str,
    delivery_id: &str,
) -> Result<WebhookDeliveryInfo> {
    let db = db.without_workspace();
    enabled(&db, workspace_id, webhook_id).await?;
    db.transaction(async |tx| {
        let delivery = delivery_of(&tx, webhook_id, delivery_id).await?;
        let due = Due::new(delivery_id, webhook_id, delivery.attempts);
        if store::begin_again(&tx, &[delivery_id.to_owned()], tx.clock().now()).await? == 0 {
            return Err(Error::conflict("this delivery is under way already").code("already_pending"));
        }
        enqueue(&tx, Lane::Again, vec![due]).await?;
        delivery_of(&tx, webhook_id, delivery_id).await.map(Into::into)
    })
    .await
}

/// Sends everything once more that a webhook has missed: its deliveries of events since then that have failed. Answers how many.
///
/// # Errors
/// 404 where it is not the workspace's, 409 where it is disabled.
pub async fn recover_webhook(db: &Db, workspace_id: &str, webhook_id: &str, since: Timestamp) -> Result<u64> {
    let db = db.without_workspace();
    enabled(&db, workspace_id, webhook_id).await?;
    let (mut recovered, mut behind) = (0, String::new());
    loop {
        let failed = store::failed_since(&db, webhook_id, since, &behind).await?;
        let Some(last) = failed.last() else { return Ok(recovered) };
        behind.clone_from(&last.id);
        recovered += db.transaction(async |tx| recover(&tx, webhook_id, &failed).await).await?;
        if failed.len() < BATCH {
            return Ok(recovered);
        }
    }
}

/// Recovers these. One that somebody else has begun again meanwhile may be sent twice, as anything may.
async fn recover(tx: &Db, webhook_id: &str, failed: &[Saved<WebhookDelivery>]) -> Result<u64> {
    let ids: Vec<String> = failed.iter().map(|delivery| delivery.id.clone()).collect();
    let recovered = store::begin_again(tx, &ids, tx.clock().now()).await?;
    if recovered > 0 {
        let due = failed.iter().map(|delivery| Due::new(&delivery.id, webhook_id, delivery.attempts)).collect();
        enqueue(tx, Lane::Again, due).await?;
    }
    Ok(recovered)
}

async fn enabled(db: &Db, workspace_id: &str, webhook_id: &str) -> Result<()> {
    if existing(db, workspace_id, webhook_id).await?.is_enabled { Ok(()) } else { Err(disabled()) }
}
