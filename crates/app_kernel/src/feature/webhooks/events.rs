//! Telling webhooks of events: rows and jobs, in the caller's transaction.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::deliver::{Due, Lane, enqueue};
use super::deliveries::WebhookDeliveryInfo;
use super::store::{self, Target, WebhookDelivery, WebhookEvent};
use super::{Webhooks, flows, model};
use crate::base::error::{Error, OrNotFound as _, Result};
use crate::base::id::new_id;
use crate::store::db::Db;

/// The event by which somebody tries a webhook out.
const TEST: &str = "webhook.test";

/// An event that webhooks are told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct TriggeredEvent {
    /// What receivers see as `webhook-id`.
    pub id: String,
    /// How many webhooks are told of it.
    pub deliveries: usize,
}

/// Tells all enabled webhooks of a workspace of an event. Costs one query where there are none. In a transaction, they are told if and when
/// it is committed:
///
/// ```no_run
/// # use app_kernel::prelude::*;
/// # use serde_json::{Value, json};
/// async fn deploy(member: WorkspaceMember, db: Db, Json(new): Json<Value>) -> Result<Json<Row>> {
///     let deployment = db
///         .transaction(async |tx| {
///             let deployment = tx.save_entity("deployments", new.clone()).await?;
///             let data = json!({ "deployment_id": deployment["id"], "status": "running" });
///             trigger_webhook_event(&tx, &member.workspace_id, "deployment.created", data).await?;
///             Ok(deployment)
///         })
///         .await?;
///     Ok(Json(deployment))
/// }
/// ```
///
/// `event` is 1 to 128 letters, digits and `_ - . : /`. `data` is anything that becomes a JSON object; with the rest of the body, 256 KiB at most.
///
/// # Errors
/// `Invalid` with the code `invalid_event` or `event_too_large`, `Unavailable` where webhooks are off, and those of the database.
pub async fn trigger_webhook_event(
    db: &Db,
    workspace_id: &str,
    event: &str,
    data: impl Serialize,
) -> Result<TriggeredEvent> {
    let db = db.without_workspace();
    Webhooks::of(&db)?;
    let body = model::body(event, &data, db.clock().now())?;
    let targets = store::targets(&db, workspace_id).await?;
    let (id, deliveries) = (new_id(), targets.len());
    tell(&db, &id, workspace_id, event, body, &targets).await?;
    Ok(TriggeredEvent { id, deliveries })
}

/// Makes the rows and the jobs. Answers the ids of the deliveries.
async fn tell(
    db: &Db,
    id: &str,
    workspace_id: &str,
    event: &str,
    body: String,
    targets: &[Target],
) -> Result<Vec<String>> {
    if targets.is_empty() {
        return Ok(Vec::new());
    }
    let now = db.clock().now();
    let row = WebhookEvent { workspace_id: workspace_id.to_owned(), event: event.to_owned(), body };
    db.transaction(async |tx| {
        tx.save(row.clone()).id(id).await?;
        let webhook_ids = targets.iter().map(|target| target.webhook_id.as_str());
        let made = store::insert_deliveries(&tx, id, event, webhook_ids, now).await?;
        for lane in [Lane::First, Lane::Again] {
            let in_lane = targets.iter().zip(&made).filter(|(target, _)| lane == Lane::of(target.is_failing));
            let due = in_lane.map(|(target, delivery_id)| Due::new(delivery_id, &target.webhook_id, 0)).collect();
            enqueue(&tx, lane, due).await?;
        }
        Ok(made)
    })
    .await
}

/// Tells one webhook of the event `webhook.test`, so that its owner sees what comes.
///
/// # Errors
/// 404 where it is not the workspace's, 409 where it is disabled.
pub async fn test_webhook(db: &Db, workspace_id: &str, webhook_id: &str) -> Result<WebhookDeliveryInfo> {
    let db = db.without_workspace();
    let webhook = flows::existing(&db, workspace_id, webhook_id).await?;
    if !webhook.is_enabled {
        return Err(disabled());
    }
    let data = json!({ "webhook_id": webhook_id, "message": "This is a test." });
    let body = model::body(TEST, &data, db.clock().now())?;
    let target = Target { webhook_id: webhook_id.to_owned(), is_failing: webhook.failing_since.is_some() };
    let made = tell(&db, &new_id(), workspace_id, TEST, body, &[target]).await?;
    let delivery = db.get::<WebhookDelivery>(made.first().map_or("", String::as_str)).await?;
    delivery.or_not_found("delivery").map(Into::into)
}

pub(super) fn disabled() -> Error {
    Error::conflict("this webhook is disabled; enable it first").code("webhook_disabled")
}
