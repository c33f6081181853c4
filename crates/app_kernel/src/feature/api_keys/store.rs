//! The table of API keys, and the questions asked of it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::flows::KeyOwner;
use super::model::RateLimit;
use crate::base::clock::{Timestamp, iso};
use crate::base::error::Result;
use crate::base::secret::Secret;
use crate::store::db::Db;
use crate::store::db::entity::{Entity, EntityDef};
use crate::store::db::row::Saved;

/// How a program signs in. Softly deleted once it is revoked.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_api_keys")]
pub struct ApiKey {
    /// Whose rights it has: who made it.
    #[entity(index, foreign_key = "kernel_users.id")]
    pub user_id: String,
    /// The workspace that it belongs to and acts in; none where it is its maker's own.
    #[entity(index, foreign_key = "kernel_workspaces.id")]
    pub workspace_id: Option<String>,
    /// What people call it.
    pub name: String,
    /// How it begins.
    pub hint: String,
    /// The SHA-256 of the key.
    #[entity(unique)]
    pub key_hash: Secret,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Until when it is good.
    pub expires_at: Option<Timestamp>,
    /// How many requests it may make in its window; none where it is not limited.
    pub rate_requests: Option<i64>,
    /// The window, in seconds.
    pub rate_window_secs: Option<i64>,
    /// Whether its maker had shown a second factor: where a workspace insists on one, other keys are not let in.
    #[entity(default = false)]
    pub made_with_second_factor: bool,
    /// The key that took its place.
    pub replaced_by_id: Option<String>,
    /// When it was last used, to the minute. Written beside the versions: being used changes nothing about a key.
    pub last_used_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether its time is over.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// How many requests it may make, where that is limited.
    pub(super) fn rate_limit(&self) -> Option<RateLimit> {
        let (requests, window) = self.rate_requests.zip(self.rate_window_secs)?;
        Some(RateLimit { requests: u32::try_from(requests).ok()?, window_secs: u32::try_from(window).ok()? })
    }
}

impl RateLimit {
    pub(super) fn window(self) -> Duration {
        Duration::from_secs(u64::from(self.window_secs))
    }
}

/// What is told of an API key: everything but the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ApiKey")]
#[non_exhaustive]
pub struct ApiKeyInfo {
    /// Its identifier.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// How it begins: `sk_live_Ab3d…`.
    pub hint: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Whose rights it has: who made it.
    pub user_id: String,
    /// The workspace that it belongs to; none where it is its maker's own.
    pub workspace_id: Option<String>,
    /// How often it may be used, where that is limited.
    pub rate_limit: Option<RateLimit>,
    /// When it was made.
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    pub created_at: Timestamp,
    /// Until when it is good.
    #[serde(with = "iso::option")]
    #[schemars(with = "Option<Timestamp>")]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[serde(with = "iso::option")]
    #[schemars(with = "Option<Timestamp>")]
    pub last_used_at: Option<Timestamp>,
    /// The key that took its place when it was rotated.
    pub replaced_by_id: Option<String>,
}

impl From<Saved<ApiKey>> for ApiKeyInfo {
    fn from(key: Saved<ApiKey>) -> Self {
        let (rate_limit, Saved { id, entity, created_at, .. }) = (key.rate_limit(), key);
        ApiKeyInfo {
            id,
            name: entity.name,
            hint: entity.hint,
            scopes: entity.scopes,
            user_id: entity.user_id,
            workspace_id: entity.workspace_id,
            rate_limit,
            created_at,
            expires_at: entity.expires_at,
            last_used_at: entity.last_used_at,
            replaced_by_id: entity.replaced_by_id,
        }
    }
}

/// The tables that must exist.
pub(crate) fn entities() -> Vec<&'static EntityDef> {
    vec![ApiKey::definition()]
}

/// The most keys that one person or one workspace has.
pub(super) const MOST_KEYS: u32 = 1000;

/// The key with this hash, if it is not revoked.
pub(super) async fn key_of_hash(db: &Db, key_hash: String) -> Result<Option<Saved<ApiKey>>> {
    db.find::<ApiKey>("[key_hash] = ?", [key_hash]).first().await
}

/// The condition that a key is somebody's, and what it asks for.
fn owned_by(owner: &KeyOwner) -> (&'static str, &str) {
    match owner {
        KeyOwner::User(id) => ("[user_id] = ? AND [workspace_id] IS NULL", id),
        KeyOwner::Workspace(id) => ("[workspace_id] = ?", id),
    }
}

/// The living keys of an owner, the oldest first.
pub(super) async fn keys_of(db: &Db, owner: &KeyOwner) -> Result<Vec<Saved<ApiKey>>> {
    let (clause, id) = owned_by(owner);
    db.find::<ApiKey>(clause, [id]).order_by("[created_at]").limit(MOST_KEYS).await
}

pub(super) async fn count_of(db: &Db, owner: &KeyOwner) -> Result<i64> {
    let (clause, id) = owned_by(owner);
    db.count::<ApiKey>(clause, [id]).await
}

/// Deletes all keys that somebody made.
pub(super) async fn delete_made_by(tx: &Db, user_id: &str) -> Result<()> {
    loop {
        let made = tx.find::<ApiKey>("[user_id] = ?", [user_id]).limit(MOST_KEYS).await?;
        if made.is_empty() {
            return Ok(());
        }
        tx.delete_many::<ApiKey>(made.into_iter().map(|key| key.id)).await?;
    }
}

/// A living key of an owner.
pub(super) async fn key_of(db: &Db, owner: &KeyOwner, key_id: &str) -> Result<Option<Saved<ApiKey>>> {
    let (clause, id) = owned_by(owner);
    db.find::<ApiKey>(format!("{clause} AND [id] = ?"), [id, key_id]).first().await
}

/// Keeps when a key was used, unless that is known to the minute; without a version.
pub(super) async fn note_use(db: &Db, key_id: &str, at: Timestamp, unless_since: Timestamp) -> Result<()> {
    let sql = "UPDATE [kernel_api_keys] SET [last_used_at] = ? WHERE [id] = ? AND ([last_used_at] IS NULL OR [last_used_at] <= ?)";
    db.execute(sql, (at, key_id, unless_since)).await.map(drop)
}
