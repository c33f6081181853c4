//! Making, changing and rotating webhooks. Who may do it is asked by the routes; what a webhook can be is asked here, so that the routes of a
//! service are held to it too.

use std::fmt;
use std::future::IntoFuture;
use std::ops::Deref;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Serialize;

use super::model::{DisabledBecause, problem_with_description};
use super::store::{self, MOST_WEBHOOKS, Webhook};
use super::{Webhooks, sign};
use crate::base::clock::{Timestamp, iso};
use crate::base::error::{Error, OrNotFound as _, Result};
use crate::base::id::new_id;
use crate::feature::workspaces::Workspace;
use crate::store::db::Db;
use crate::store::db::row::Saved;

/// How long a rotated secret signs on where nothing else is said.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// How long it can.
const LONGEST_OVERLAP: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is told of a webhook: everything but its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Webhook")]
#[non_exhaustive]
pub struct WebhookInfo {
    /// Its identifier.
    pub id: String,
    /// The workspace whose events it is told of.
    pub workspace_id: String,
    /// Where it is.
    pub url: String,
    /// What people say about it.
    pub description: Option<String>,
    /// Whether it is told of events.
    pub is_enabled: bool,
    /// Why it is not.
    pub disabled_because: Option<DisabledBecause>,
    /// Since when it is not.
    #[serde(with = "iso::option")]
    #[schemars(with = "Option<Timestamp>")]
    pub disabled_at: Option<Timestamp>,
    /// Since when every try has failed; none where the last one has not.
    #[serde(with = "iso::option")]
    #[schemars(with = "Option<Timestamp>")]
    pub failing_since: Option<Timestamp>,
    /// Until when requests carry the signature of the former secret too.
    #[serde(with = "iso::option")]
    #[schemars(with = "Option<Timestamp>")]
    pub previous_secret_until: Option<Timestamp>,
    /// When it was made.
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    pub created_at: Timestamp,
}

impl From<Saved<Webhook>> for WebhookInfo {
    fn from(webhook: Saved<Webhook>) -> Self {
        let Saved { id, entity, created_at, .. } = webhook;
        WebhookInfo {
            id,
            workspace_id: entity.workspace_id,
            url: entity.url,
            description: entity.description,
            is_enabled: entity.is_enabled,
            disabled_because: entity.disabled_because,
            disabled_at: entity.disabled_at,
            failing_since: entity.failing_since,
            previous_secret_until: entity.previous_until,
            created_at,
        }
    }
}

/// A webhook with a secret that was just made. Answer it to whoever asked for it: nobody can read it again.
#[derive(Clone, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct NewWebhook {
    /// The secret, `whsec_…`, that the receiver verifies with. Told this once; it can be rotated.
    pub secret: String,
    /// All that is told of it later.
    #[serde(flatten)]
    pub info: WebhookInfo,
}

impl Deref for NewWebhook {
    type Target = WebhookInfo;

    fn deref(&self) -> &WebhookInfo {
        &self.info
    }
}

impl fmt::Debug for NewWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewWebhook").field("secret", &"[secret]").field("info", &self.info).finish()
    }
}

fn refusal() -> Error {
    Error::invalid("this can't be a webhook").code("unprocessable")
}

/// Everything that is wrong with what somebody says, or the address as it is kept.
fn checked(webhooks: &Webhooks, url: Option<&str>, description: Option<&str>) -> Result<Option<String>> {
    let place = url.map(|url| webhooks.rules.read(url));
    let mut error = refusal();
    if let Some(Err(problem)) = &place {
        error = error.field("/url", *problem);
    }
    if let Some(problem) = description.and_then(problem_with_description) {
        error = error.field("/description", problem);
    }
    if !error.field_errors().is_empty() {
        return Err(error);
    }
    Ok(place.and_then(Result::ok).map(|place| place.as_str().to_owned()))
}

/// Refuses an address whose name resolves to one that is not public. For routes: it waits for a name server, which a transaction should not.
pub(super) async fn look_at(db: &Db, url: &str) -> Result<()> {
    let looked = Webhooks::of(db)?.rules.look_at(url).await;
    looked.map(drop).map_err(|problem| refusal().field("/url", problem))
}

/// Makes a webhook of a workspace. It is told of all events from now on:
///
/// ```no_run
/// # use app_kernel::prelude::*;
/// # async fn example(db: Db, workspace_id: &str) -> Result<()> {
/// let made = create_webhook(&db, workspace_id, "https://example.com/webhooks").await?;
/// println!("verify requests with {}", made.secret);
/// # Ok(()) }
/// ```
///
/// # Errors
/// 422 with every field that is wrong, 404 where there is no such workspace, 409 where it has too many, and `Unavailable` where webhooks are off.
pub fn create_webhook(db: &Db, workspace_id: impl Into<String>, url: impl Into<String>) -> CreateWebhook {
    CreateWebhook { db: db.without_workspace(), workspace_id: workspace_id.into(), url: url.into(), description: None }
}

/// A webhook in the making; see [`create_webhook`].
#[derive(Debug)]
#[must_use = "nothing is made until it is awaited"]
pub struct CreateWebhook {
    db: Db,
    workspace_id: String,
    url: String,
    description: Option<String>,
}

impl CreateWebhook {
    /// What people say about it, at most 500 characters.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }
}

impl IntoFuture for CreateWebhook {
    type Output = Result<NewWebhook>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(create(self))
    }
}

async fn create(new: CreateWebhook) -> Result<NewWebhook> {
    let CreateWebhook { db, workspace_id, url, description } = new;
    let webhooks = Webhooks::of(&db)?;
    let url = checked(&webhooks, Some(&url), description.as_deref())?.expect("a URL was said");
    db.get::<Workspace>(&workspace_id).await?.or_not_found("workspace")?;
    if store::count_of(&db, &workspace_id).await? >= i64::from(MOST_WEBHOOKS) {
        let message = format!("there are {MOST_WEBHOOKS} webhooks already; delete some");
        return Err(Error::conflict(message).code("too_many_webhooks"));
    }
    let (id, secret) = (new_id(), sign::generate());
    let webhook = Webhook {
        workspace_id,
        url,
        description: description.filter(|text| !text.is_empty()),
        sealed_secret: webhooks.vault.seal(&id, &secret),
        previous_secret: None,
        previous_until: None,
        is_enabled: true,
        disabled_at: None,
        disabled_because: None,
        failing_since: None,
        last_failed_at: None,
    };
    Ok(NewWebhook { secret: sign::told(&secret), info: db.save(webhook).id(&id).await?.into() })
}

/// The webhooks of a workspace, the oldest first.
///
/// # Errors
/// Those of the database.
pub async fn list_webhooks(db: &Db, workspace_id: &str) -> Result<Vec<WebhookInfo>> {
    Ok(store::webhooks_of(&db.without_workspace(), workspace_id).await?.into_iter().map(Into::into).collect())
}

/// One of them.
///
/// # Errors
/// 404 where it is not the workspace's.
pub async fn read_webhook(db: &Db, workspace_id: &str, webhook_id: &str) -> Result<WebhookInfo> {
    existing(&db.without_workspace(), workspace_id, webhook_id).await.map(Into::into)
}

pub(super) async fn existing(db: &Db, workspace_id: &str, webhook_id: &str) -> Result<Saved<Webhook>> {
    store::webhook_of(db, workspace_id, webhook_id).await?.or_not_found("webhook")
}

/// Deletes one of them. What was on its way to it is not sent any more.
///
/// # Errors
/// 404 where it is not the workspace's.
pub async fn delete_webhook(db: &Db, workspace_id: &str, webhook_id: &str) -> Result<()> {
    let db = db.without_workspace();
    existing(&db, workspace_id, webhook_id).await?;
    db.delete::<Webhook>(webhook_id).await?.then_some(()).or_not_found("webhook")
}

/// Changes one of them: what is said, nothing else. What is on its way to it goes to the new address.
///
/// # Errors
/// 404 where it is not the workspace's, 422 with every field that is wrong.
pub fn update_webhook(db: &Db, workspace_id: impl Into<String>, webhook_id: impl Into<String>) -> UpdateWebhook {
    UpdateWebhook {
        db: db.without_workspace(),
        workspace_id: workspace_id.into(),
        webhook_id: webhook_id.into(),
        url: None,
        description: None,
        is_enabled: None,
    }
}

/// A change; see [`update_webhook`].
#[derive(Debug)]
#[must_use = "nothing is changed until it is awaited"]
pub struct UpdateWebhook {
    db: Db,
    workspace_id: String,
    webhook_id: String,
    url: Option<String>,
    description: Option<String>,
    is_enabled: Option<bool>,
}

impl UpdateWebhook {
    /// Another address.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// Another description; an empty one takes it away.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Whether it is told of events. One that was given up starts with a clean record.
    pub fn enabled(mut self, is_enabled: bool) -> Self {
        self.is_enabled = Some(is_enabled);
        self
    }
}

impl IntoFuture for UpdateWebhook {
    type Output = Result<WebhookInfo>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(update(self))
    }
}

async fn update(change: UpdateWebhook) -> Result<WebhookInfo> {
    let UpdateWebhook { db, workspace_id, webhook_id, url, description, is_enabled } = change;
    let url = checked(&*Webhooks::of(&db)?, url.as_deref(), description.as_deref())?;
    let now = db.clock().now();
    let saved = db
        .transaction(async |tx| {
            let mut webhook = existing(&tx, &workspace_id, &webhook_id).await?;
            let version = webhook.version;
            if let Some(url) = &url {
                webhook.url.clone_from(url);
            }
            if let Some(description) = &description {
                webhook.description = Some(description.clone()).filter(|text| !text.is_empty());
            }
            match is_enabled {
                Some(true) if !webhook.is_enabled => webhook.enable(),
                Some(false) if webhook.is_enabled => webhook.disable(DisabledBecause::ByHand, now),
                _ => {}
            }
            tx.save(webhook).if_version(version).await
        })
        .await?;
    Ok(saved.into())
}

impl Webhook {
    fn enable(&mut self) {
        self.is_enabled = true;
        (self.disabled_at, self.disabled_because) = (None, None);
        (self.failing_since, self.last_failed_at) = (None, None);
    }

    pub(super) fn disable(&mut self, because: DisabledBecause, now: Timestamp) {
        self.is_enabled = false;
        (self.disabled_at, self.disabled_because) = (Some(now), Some(because));
    }
}

/// Gives a webhook a new secret. For a day, or for as long as [`RotateWebhookSecret::overlap`] says, requests carry the signature of the
/// former one too; of several that are rotated within that time, the last.
///
/// # Errors
/// 404 where it is not the workspace's, 422 where the overlap is too long.
pub fn rotate_webhook_secret(
    db: &Db,
    workspace_id: impl Into<String>,
    webhook_id: impl Into<String>,
) -> RotateWebhookSecret {
    let (workspace_id, webhook_id) = (workspace_id.into(), webhook_id.into());
    RotateWebhookSecret { db: db.without_workspace(), workspace_id, webhook_id, overlap: OVERLAP }
}

/// A rotation; see [`rotate_webhook_secret`].
#[derive(Debug)]
#[must_use = "nothing is changed until it is awaited"]
pub struct RotateWebhookSecret {
    db: Db,
    workspace_id: String,
    webhook_id: String,
    overlap: Duration,
}

impl RotateWebhookSecret {
    /// How long the former secret signs on, a week at most. Nothing is right for one that somebody else may know.
    pub fn overlap(mut self, overlap: Duration) -> Self {
        self.overlap = overlap;
        self
    }
}

impl IntoFuture for RotateWebhookSecret {
    type Output = Result<NewWebhook>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(rotate(self))
    }
}

async fn rotate(rotation: RotateWebhookSecret) -> Result<NewWebhook> {
    let RotateWebhookSecret { db, workspace_id, webhook_id, overlap } = rotation;
    if overlap > LONGEST_OVERLAP {
        let problem = "must be at most 168 hours";
        return Err(Error::invalid("the overlap is too long").code("unprocessable").field("/overlap_hours", problem));
    }
    let (webhooks, secret) = (Webhooks::of(&db)?, sign::generate());
    let until = db.clock().now() + SignedDuration::try_from(overlap).expect("a week fits");
    let saved = db
        .transaction(async |tx| {
            let mut webhook = existing(&tx, &workspace_id, &webhook_id).await?;
            let version = webhook.version;
            let former = std::mem::replace(&mut webhook.sealed_secret, webhooks.vault.seal(&webhook_id, &secret));
            let overlaps = !overlap.is_zero();
            webhook.previous_secret = overlaps.then_some(former);
            webhook.previous_until = overlaps.then_some(until);
            tx.save(webhook).if_version(version).await
        })
        .await?;
    Ok(NewWebhook { secret: sign::told(&secret), info: saved.into() })
}
