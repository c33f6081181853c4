//! Making, reading, rotating and revoking API keys. Who may do it is asked by the routes; whom a key can be made for, and as what, is asked
//! here, so that the routes of a service are held to it too.

use std::fmt;
use std::future::IntoFuture;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Serialize;

use super::key;
use super::model::{RateLimit, Wanted, end_of_overlap, next_end};
use super::store::{self, ApiKey, ApiKeyInfo, MOST_KEYS};
use crate::base::caller::CallerKind;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, OrNotFound, Result};
use crate::base::id::new_id;
use crate::base::secret::{Secret, token_hash};
use crate::feature::auth::{ForgetWaysIn, User};
use crate::feature::workspaces::membership;
use crate::store::db::Db;
use crate::store::db::row::Saved;

/// How long a rotated key lives on where nothing else is said.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// Whose a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOwner {
    /// The user with this id.
    User(String),
    /// The workspace with this id.
    Workspace(String),
}

/// A key that was just made. Answer it to whoever asked for it: nobody can read it again.
#[derive(Clone, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct NewApiKey {
    /// The key itself, `sk_live_…`. Told this once; what is stored is its hash.
    pub key: String,
    /// All that is told of it later.
    #[serde(flatten)]
    pub info: ApiKeyInfo,
}

impl Deref for NewApiKey {
    type Target = ApiKeyInfo;

    fn deref(&self) -> &ApiKeyInfo {
        &self.info
    }
}

impl fmt::Debug for NewApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewApiKey").field("key", &"[secret]").field("info", &self.info).finish()
    }
}

/// Makes an API key for a user:
///
/// ```no_run
/// # use app_kernel::prelude::*;
/// # async fn example(db: Db, user: CurrentUser) -> Result<()> {
/// let made = create_api_key(&db, &user.id)
///     .name("CI/CD pipeline")
///     .scopes(["deployments:write"])
///     .expires_in_days(90)
///     .await?;
/// println!("{} is {}", made.id, made.key);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// 422 with every field that is wrong, 404 where there is no such user, or not in that workspace, 403 where they are no admin of it or `db`
/// works for an API key, and 409 where they have too many.
pub fn create_api_key(db: &Db, user_id: impl Into<String>) -> CreateApiKey {
    CreateApiKey {
        db: db.clone(),
        user_id: user_id.into(),
        workspace_id: None,
        wanted: Wanted::default(),
        with_second_factor: false,
    }
}

/// A key in the making; see [`create_api_key`].
#[derive(Debug)]
#[must_use = "no key is made until it is awaited"]
pub struct CreateApiKey {
    db: Db,
    user_id: String,
    workspace_id: Option<String>,
    wanted: Wanted,
    with_second_factor: bool,
}

impl CreateApiKey {
    /// What people call it: 1 to 200 characters. `API key` where not said.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.wanted.name = Some(name.into());
        self
    }

    /// What it may do, each as in [`is_scope`](super::is_scope), at most 50. None of them where not said.
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.wanted.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Refuses scopes that these don't cover: what whoever asks for the key may give away.
    pub fn at_most<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.wanted.at_most = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// How many days it is good, 1 to 3650. It does not end where not said.
    pub fn expires_in_days(mut self, days: u32) -> Self {
        self.wanted.expires_in_days = Some(days);
        self
    }

    /// The workspace that it belongs to and acts in. The user is one of its admins.
    pub fn workspace(mut self, workspace_id: impl Into<String>) -> Self {
        self.workspace_id = Some(workspace_id.into());
        self
    }

    /// How many requests it may make, 1 to 1,000,000, in a time of 1 second to 1 day. Not limited where not said.
    pub fn rate_limit(mut self, requests: u32, window: Duration) -> Self {
        self.wanted.rate_limit = Some((requests, window));
        self
    }

    /// Whether the user has shown a second factor, as in `CurrentUser::has_second_factor`. Without one, the key is not let in where a
    /// workspace insists on it.
    pub fn with_second_factor(mut self, has_second_factor: bool) -> Self {
        self.with_second_factor = has_second_factor;
        self
    }
}

impl IntoFuture for CreateApiKey {
    type Output = Result<NewApiKey>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(create(self))
    }
}

async fn create(new: CreateApiKey) -> Result<NewApiKey> {
    let CreateApiKey { db, user_id, workspace_id, wanted, with_second_factor } = new;
    check_caller(&db)?;
    let wanted = wanted.check(db.clock().now())?;
    let owner = match &workspace_id {
        Some(id) => KeyOwner::Workspace(id.clone()),
        None => KeyOwner::User(user_id.clone()),
    };
    check_maker(&db, &owner, &user_id).await?;
    if store::count_of(&db, &owner).await? >= i64::from(MOST_KEYS) {
        return Err(Error::conflict(format!("there are {MOST_KEYS} keys already; revoke some")).code("too_many_keys"));
    }
    let text = key::generate();
    let new = ApiKey {
        user_id,
        workspace_id,
        name: wanted.name,
        hint: key::hint(&text),
        key_hash: Secret::new(token_hash(&text)),
        scopes: wanted.scopes,
        expires_at: wanted.expires_at,
        rate_requests: wanted.rate_limit.map(|limit| i64::from(limit.requests)),
        rate_window_secs: wanted.rate_limit.map(|RateLimit { window_secs, .. }| i64::from(window_secs)),
        made_with_second_factor: with_second_factor,
        replaced_by_id: None,
        last_used_at: None,
    };
    Ok(NewApiKey { key: text, info: db.save(new).await?.into() })
}

/// A key that makes keys would outlive being revoked.
fn check_caller(db: &Db) -> Result<()> {
    if db.caller().kind() != CallerKind::ApiKey {
        return Ok(());
    }
    Err(Error::forbidden("an API key makes no API keys; sign in").code("api_key_not_allowed"))
}

/// Whoever makes a key is somebody who may sign in and, for a workspace, one of its admins.
async fn check_maker(db: &Db, owner: &KeyOwner, user_id: &str) -> Result<()> {
    let user = db.get::<User>(user_id).await?.filter(|user| user.is_active);
    user.or_not_found("user")?;
    match owner {
        KeyOwner::User(id) if id == user_id => Ok(()),
        KeyOwner::User(_) => Err(Error::not_found("there is no such API key")),
        KeyOwner::Workspace(id) => {
            let place = membership(db, id, user_id).await?.or_not_found("workspace")?;
            place.member.role.check_is_admin()
        }
    }
}

/// The keys of a user or of a workspace, the oldest first: those that are not revoked.
///
/// # Errors
/// Those of the database.
pub async fn list_api_keys(db: &Db, owner: &KeyOwner) -> Result<Vec<ApiKeyInfo>> {
    Ok(store::keys_of(db, owner).await?.into_iter().map(Into::into).collect())
}

/// One of them.
///
/// # Errors
/// 404 where it is not theirs.
pub async fn read_api_key(db: &Db, owner: &KeyOwner, key_id: &str) -> Result<ApiKeyInfo> {
    store::key_of(db, owner, key_id).await?.or_not_found("API key").map(Into::into)
}

/// Revokes one of them. It is over with the next request, in every process.
///
/// # Errors
/// 404 where it is not theirs.
pub async fn revoke_api_key(db: &Db, owner: &KeyOwner, key_id: &str) -> Result<()> {
    let key = store::key_of(db, owner, key_id).await?.or_not_found("API key")?;
    if db.delete::<ApiKey>(&key.id).await? { Ok(()) } else { Err(Error::not_found("there is no such API key")) }
}

/// Makes a new key in the place of one, with the same name, scopes, limit and length of life. The old one lives on for a day, or for
/// as long as [`RotateApiKey::overlap`] says. A workspace's key becomes that of the admin `user_id` who rotates it.
///
/// # Errors
/// 404 where it is not theirs, 409 where it was rotated before, 422 where the overlap is too long, and as [`create_api_key`].
pub fn rotate_api_key(db: &Db, owner: KeyOwner, key_id: impl Into<String>, user_id: impl Into<String>) -> RotateApiKey {
    RotateApiKey {
        db: db.clone(),
        owner,
        key_id: key_id.into(),
        user_id: user_id.into(),
        overlap: OVERLAP,
        with_second_factor: false,
    }
}

/// A rotation; see [`rotate_api_key`].
#[derive(Debug)]
#[must_use = "no key is made until it is awaited"]
pub struct RotateApiKey {
    db: Db,
    owner: KeyOwner,
    key_id: String,
    user_id: String,
    overlap: Duration,
    with_second_factor: bool,
}

impl RotateApiKey {
    /// How long the old key lives on, a week at most. Nothing is right for a key that somebody else may know.
    pub fn overlap(mut self, overlap: Duration) -> Self {
        self.overlap = overlap;
        self
    }

    /// As [`CreateApiKey::with_second_factor`].
    pub fn with_second_factor(mut self, has_second_factor: bool) -> Self {
        self.with_second_factor = has_second_factor;
        self
    }
}

impl IntoFuture for RotateApiKey {
    type Output = Result<NewApiKey>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(rotate(self))
    }
}

async fn rotate(rotation: RotateApiKey) -> Result<NewApiKey> {
    check_caller(&rotation.db)?;
    check_maker(&rotation.db, &rotation.owner, &rotation.user_id).await?;
    let (now, text, new_id) = (rotation.db.clock().now(), key::generate(), new_id());
    let saved = rotation.db.transaction(async |tx| replace(&tx, &rotation, now, &text, &new_id).await).await?;
    Ok(NewApiKey { key: text, info: saved.into() })
}

async fn replace(tx: &Db, rotation: &RotateApiKey, now: Timestamp, text: &str, new_id: &str) -> Result<Saved<ApiKey>> {
    let mut old = store::key_of(tx, &rotation.owner, &rotation.key_id).await?.or_not_found("API key")?;
    if old.replaced_by_id.is_some() {
        return Err(
            Error::conflict("this key was rotated already; rotate the one that took its place").code("already_rotated")
        );
    }
    let new = ApiKey {
        user_id: rotation.user_id.clone(),
        hint: key::hint(text),
        key_hash: Secret::new(token_hash(text)),
        expires_at: next_end(now, old.created_at, old.expires_at),
        made_with_second_factor: rotation.with_second_factor,
        last_used_at: None,
        ..old.entity.clone()
    };
    let version = old.version;
    old.expires_at = Some(end_of_overlap(now, rotation.overlap, old.expires_at)?);
    old.replaced_by_id = Some(new_id.to_owned());
    // Of two who rotate at once, the second finds another version, and makes nothing.
    tx.save(old).if_version(version).await?;
    tx.save(new).id(new_id).await
}

/// What auth calls when somebody leaves, or an account turns out to be somebody else's: all keys that they made are revoked, those for
/// workspaces too, because whoever made a key may know it by heart.
pub(crate) fn forget_ways_in() -> ForgetWaysIn {
    Arc::new(|tx, user_id| Box::pin(async move { store::delete_made_by(&tx, &user_id).await }))
}
