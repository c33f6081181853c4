//! Webhooks: what receivers get, what owners see, and whom nobody reaches.

mod delivering;
mod given_up;
mod lives;
mod managing;
mod official;
mod places;
mod slow;

use app_kernel::feature::webhooks::{
    NewWebhook, WebhookDeliveryDetails, WebhookDeliveryInfo, list_webhook_deliveries, read_webhook_delivery,
};
use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, TestService};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::{Value, json};

use crate::support::receiver::Received;

/// A service whose workspaces have webhooks, which may be on this machine.
pub(crate) fn app(config: ServiceConfig) -> Service {
    crate::workspaces::app(ServiceConfig { webhook_allow_private: true, ..config }).webhooks()
}

pub(crate) async fn start(database: TestDatabase) -> TestService {
    TestService::start_on(database, app).await
}

/// Somebody with a workspace of their own; answers who, and its id.
async fn owner(service: &TestService, name: &str) -> (app_kernel::testing::Client, String) {
    let person = crate::workspaces::person(service, name).await;
    (person.client, person.personal)
}

async fn make(service: &TestService, workspace_id: &str, url: &str) -> NewWebhook {
    create_webhook(&service.db(), workspace_id, url).await.expect("a webhook")
}

/// Tells the workspace of an event, and answers the event's id.
async fn trigger(service: &TestService, workspace_id: &str, data: Value) -> String {
    trigger_webhook_event(&service.db(), workspace_id, "thing.happened", data).await.expect("an event").id
}

/// What was sent to a webhook, the newest first.
async fn log_of(service: &TestService, webhook: &NewWebhook) -> Vec<WebhookDeliveryInfo> {
    list_webhook_deliveries(&service.db(), &webhook.workspace_id, &webhook.id).limit(500).await.expect("a log").items
}

/// The newest delivery to a webhook, with its tries.
async fn last(service: &TestService, webhook: &NewWebhook) -> WebhookDeliveryDetails {
    let newest = log_of(service, webhook).await.into_iter().next().expect("a delivery");
    read_webhook_delivery(&service.db(), &webhook.workspace_id, &webhook.id, &newest.id).await.expect("a delivery")
}

/// Which of these secrets have signed a request, by hand as the specification says.
pub(crate) fn signed_by<'a>(request: &Received, secrets: &[&'a str]) -> Vec<&'a str> {
    let head = format!("{}.{}.", request.id(), request.header("webhook-timestamp"));
    let signed = [head.as_bytes(), &request.body].concat();
    let has_signed = |secret: &&&str| {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("standard base64");
        let signature = STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed));
        request.header("webhook-signature").split(' ').any(|word| word == format!("v1,{signature}"))
    };
    secrets.iter().filter(has_signed).copied().collect()
}

fn thing(n: usize) -> Value {
    json!({ "n": n })
}
