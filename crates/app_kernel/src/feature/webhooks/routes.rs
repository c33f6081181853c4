//! `/workspaces/{id}/webhooks` over HTTP, for owners and admins.

use std::time::Duration;

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use aide::transform::TransformOperation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::deliveries::{
    ListDeliveries, WebhookDeliveryDetails, WebhookDeliveryInfo, list_webhook_deliveries, read_webhook_delivery,
    recover_webhook, redeliver_webhook,
};
use super::events::test_webhook;
use super::flows::{
    NewWebhook, WebhookInfo, create_webhook, delete_webhook, list_webhooks, look_at, read_webhook,
    rotate_webhook_secret, update_webhook,
};
use super::model::DeliveryState;
use crate::base::clock::{Timestamp, iso};
use crate::base::error::Result;
use crate::feature::workspaces::Here;
use crate::kernel::Kernel;
use crate::store::db::Page;
use crate::web::extract::{Json, Path, Query};
use crate::web::openapi::{Refusal, refusing, says};
use crate::web::reply::{Created, NoContent};

/// The routes, without a prefix.
pub(crate) fn routes() -> ApiRouter<Kernel> {
    const ALL: &str = "/workspaces/{id}/webhooks";
    const ONE: &str = "/workspaces/{id}/webhooks/{webhook_id}";
    let below = |path: &str| format!("{ONE}{path}");
    ApiRouter::new()
        .api_route(
            ALL,
            post_with(make, guarded("Make a webhook", "For owners and admins. The secret is told this once."))
                .get_with(list, guarded("The webhooks of a workspace", "For owners and admins. The oldest first.")),
        )
        .api_route(
            ONE,
            get_with(read, guarded("A webhook", "For owners and admins."))
                .patch_with(change, guarded("Change a webhook", "For owners and admins. What is not said stays."))
                .delete_with(
                    remove,
                    guarded("Delete a webhook", "For owners and admins. What is on its way is not sent any more."),
                ),
        )
        .api_route(&below("/rotate"), post_with(rotate, guarded("Rotate a webhook's secret", ROTATE)))
        .api_route(
            &below("/test"),
            post_with(test, guarded("Try a webhook out", "For owners and admins. Sends it the event `webhook.test`.")),
        )
        .api_route(&below("/recover"), post_with(recover, guarded("Send what a webhook has missed", RECOVER)))
        .api_route(
            &below("/deliveries"),
            get_with(
                deliveries,
                guarded("What was sent to a webhook", "For owners and admins. The newest first, for 30 days."),
            ),
        )
        .api_route(
            &below("/deliveries/{delivery_id}"),
            get_with(
                delivery,
                guarded("A delivery", "For owners and admins. With what was sent, and each try with its answer."),
            ),
        )
        .api_route(
            &below("/deliveries/{delivery_id}/redeliver"),
            post_with(
                redeliver,
                guarded("Send a delivery once more", "For owners and admins. The same body, the same `webhook-id`."),
            ),
        )
}

const ROTATE: &str = "For owners and admins. Answers the new secret, this once. Requests carry the signature of the former one too, for `overlap_hours`.";
const RECOVER: &str = "For owners and admins. Every delivery that has failed, of events since then, is sent once more.";

/// What an operation is, where not every member may and what it is about may not be there.
fn guarded(
    summary: &'static str,
    description: &'static str,
) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    refusing(&[Refusal::NotFound, Refusal::Forbidden], says(summary, description))
}

/// What a webhook is to be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewWebhookBody")]
struct NewBody {
    /// Where it is: https, on the public internet.
    #[schemars(length(max = 2048))]
    url: String,
    /// What people say about it.
    #[serde(default)]
    #[schemars(length(max = 500))]
    description: Option<String>,
}

/// What is to be changed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookChange")]
struct Change {
    /// Another address.
    #[serde(default)]
    #[schemars(length(max = 2048))]
    url: Option<String>,
    /// Another description; an empty one takes it away.
    #[serde(default)]
    #[schemars(length(max = 500))]
    description: Option<String>,
    /// Whether it is told of events. One that was given up starts with a clean record.
    #[serde(default)]
    is_enabled: Option<bool>,
}

/// How a secret is rotated.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookRotation")]
struct Rotation {
    /// How many hours the former secret signs on, 24 where not said. 0 for one that somebody else may know.
    #[serde(default = "a_day")]
    #[schemars(range(min = 0, max = 168))]
    overlap_hours: u32,
}

fn a_day() -> u32 {
    24
}

/// Since when.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookRecovery")]
struct Recovery {
    /// Events from then on.
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    since: Timestamp,
}

/// What is sent once more.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookRecovered")]
struct Recovered {
    /// How many deliveries.
    deliveries: u64,
}

/// Which deliveries.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookDeliveryFilters")]
struct Filters {
    /// In this state.
    #[serde(default)]
    state: Option<DeliveryState>,
    /// At most so many: 50 where not said.
    #[serde(default)]
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[serde(default)]
    after: Option<String>,
}

/// The workspace of the path, for its owners and admins.
fn ours(here: &Here) -> Result<&str> {
    here.role.check_is_admin()?;
    Ok(&here.workspace_id)
}

async fn make(here: Here, Json(body): Json<NewBody>) -> Result<Created<NewWebhook>> {
    let (db, workspace_id) = (here.kernel_db(), ours(&here)?);
    look_at(db, &body.url).await?;
    let new = create_webhook(db, workspace_id, body.url);
    body.description.into_iter().fold(new, |new, text| new.description(text)).await.map(Created::new)
}

async fn list(here: Here) -> Result<Json<Vec<WebhookInfo>>> {
    list_webhooks(here.kernel_db(), ours(&here)?).await.map(Json)
}

async fn read(here: Here, Path((_, id)): Path<(String, String)>) -> Result<Json<WebhookInfo>> {
    read_webhook(here.kernel_db(), ours(&here)?, &id).await.map(Json)
}

async fn change(
    here: Here,
    Path((_, id)): Path<(String, String)>,
    Json(body): Json<Change>,
) -> Result<Json<WebhookInfo>> {
    let (db, workspace_id) = (here.kernel_db(), ours(&here)?);
    if let Some(url) = &body.url {
        look_at(db, url).await?;
    }
    let change = update_webhook(db, workspace_id, id);
    let change = body.url.into_iter().fold(change, |change, url| change.url(url));
    let change = body.description.into_iter().fold(change, |change, text| change.description(text));
    body.is_enabled.into_iter().fold(change, |change, is_enabled| change.enabled(is_enabled)).await.map(Json)
}

async fn remove(here: Here, Path((_, id)): Path<(String, String)>) -> Result<NoContent> {
    delete_webhook(here.kernel_db(), ours(&here)?, &id).await.map(|()| NoContent)
}

async fn rotate(
    here: Here,
    Path((_, id)): Path<(String, String)>,
    Json(body): Json<Rotation>,
) -> Result<Json<NewWebhook>> {
    let overlap = Duration::from_secs(u64::from(body.overlap_hours) * 3600);
    rotate_webhook_secret(here.kernel_db(), ours(&here)?, id).overlap(overlap).await.map(Json)
}

async fn test(here: Here, Path((_, id)): Path<(String, String)>) -> Result<Created<WebhookDeliveryInfo>> {
    test_webhook(here.kernel_db(), ours(&here)?, &id).await.map(Created::new)
}

async fn recover(
    here: Here,
    Path((_, id)): Path<(String, String)>,
    Json(body): Json<Recovery>,
) -> Result<Json<Recovered>> {
    let deliveries = recover_webhook(here.kernel_db(), ours(&here)?, &id, body.since).await?;
    Ok(Json(Recovered { deliveries }))
}

async fn deliveries(
    here: Here,
    Path((_, id)): Path<(String, String)>,
    Query(filters): Query<Filters>,
) -> Result<Json<Page<WebhookDeliveryInfo>>> {
    let list = list_webhook_deliveries(here.kernel_db(), ours(&here)?, id);
    let list = filters.state.into_iter().fold(list, ListDeliveries::state);
    let list = filters.limit.into_iter().fold(list, ListDeliveries::limit);
    filters.after.into_iter().fold(list, |list, cursor| list.after(cursor)).await.map(Json)
}

async fn delivery(
    here: Here,
    Path((_, id, delivery_id)): Path<(String, String, String)>,
) -> Result<Json<WebhookDeliveryDetails>> {
    read_webhook_delivery(here.kernel_db(), ours(&here)?, &id, &delivery_id).await.map(Json)
}

async fn redeliver(
    here: Here,
    Path((_, id, delivery_id)): Path<(String, String, String)>,
) -> Result<Json<WebhookDeliveryInfo>> {
    redeliver_webhook(here.kernel_db(), ours(&here)?, &id, &delivery_id).await.map(Json)
}
