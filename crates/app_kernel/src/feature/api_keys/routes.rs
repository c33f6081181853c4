//! `/api-keys` for one's own keys and `/workspaces/{id}/api-keys` for those of a workspace, over HTTP. People make keys; keys make none.

use std::time::Duration;

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use aide::transform::TransformOperation;
use axum::extract::{FromRef, State};
use schemars::JsonSchema;
use serde::Deserialize;

use super::flows::{
    CreateApiKey, KeyOwner, NewApiKey, create_api_key, list_api_keys, read_api_key, revoke_api_key, rotate_api_key,
};
use super::model::{Offered, RateLimit};
use super::store::ApiKeyInfo;
use crate::base::error::Result;
use crate::feature::auth::{CurrentUser, SignedIn};
use crate::feature::workspaces::Here;
use crate::kernel::Kernel;
use crate::store::db::Db;
use crate::web::extract::{Json, Path};
use crate::web::openapi::{Refusal, refusing, says};
use crate::web::reply::{Created, NoContent};

/// What the routes know.
#[derive(Clone, FromRef)]
struct KeyRoutes {
    kernel: Kernel,
    offered: Offered,
}

/// The routes, without a prefix. They give the scopes that are offered.
pub(crate) fn routes(kernel: Kernel, offered: Offered) -> ApiRouter<Kernel> {
    ApiRouter::new()
        .api_route(
            "/api-keys",
            post_with(make_own, says("Make an API key", "For myself. The key is told this once."))
                .get_with(list_own, says("My API keys", "Those that are not revoked, the oldest first.")),
        )
        .api_route(
            "/api-keys/{key_id}",
            get_with(read_own, found("An API key", "One of mine."))
                .delete_with(revoke_own, found("Revoke an API key", "It is over with the next request.")),
        )
        .api_route("/api-keys/{key_id}/rotate", post_with(rotate_own, found("Rotate an API key", ROTATE)))
        .api_route(
            "/workspaces/{id}/api-keys",
            post_with(
                make_ours,
                guarded("Make an API key for a workspace", "For owners and admins. The key is told this once."),
            )
            .get_with(list_ours, guarded("The API keys of a workspace", "For owners and admins.")),
        )
        .api_route(
            "/workspaces/{id}/api-keys/{key_id}",
            get_with(read_ours, guarded("An API key of a workspace", "For owners and admins.")).delete_with(
                revoke_ours,
                guarded("Revoke an API key of a workspace", "For owners and admins. It is over with the next request."),
            ),
        )
        .api_route(
            "/workspaces/{id}/api-keys/{key_id}/rotate",
            post_with(rotate_ours, guarded("Rotate an API key of a workspace", ROTATE)),
        )
        .with_state(KeyRoutes { kernel, offered })
}

const ROTATE: &str = "Answers a new key with the same name, scopes, limit and length of life; the old one lives on for `overlap_hours`. \
    A workspace's key rests on who rotates it from then on.";

/// What is said of a key that may not be there.
fn found(
    summary: &'static str,
    description: &'static str,
) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    refusing(&[Refusal::NotFound], says(summary, description))
}

/// The same, where not every member may.
fn guarded(
    summary: &'static str,
    description: &'static str,
) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    refusing(&[Refusal::Forbidden], found(summary, description))
}

/// What a key is to be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// 1 to 200 characters.
    #[schemars(length(min = 1, max = 200))]
    name: String,
    /// What it may do, such as `deployments:write`, `deployments:*` or `*`. Without any it opens nothing that asks for one.
    #[serde(default)]
    #[schemars(length(max = 50))]
    scopes: Vec<String>,
    /// How many days it is good. It does not end where not said.
    #[serde(default)]
    #[schemars(range(min = 1, max = 3650))]
    expires_in_days: Option<u32>,
    /// How often it may be used. Not limited where not said.
    #[serde(default)]
    rate_limit: Option<RateLimit>,
}

impl NewKey {
    fn of(self, db: &Db, user: &CurrentUser, offered: &Offered) -> CreateApiKey {
        let new = create_api_key(db, &user.id).name(self.name).scopes(self.scopes);
        let new = new.at_most(offered.scopes()).with_second_factor(user.has_second_factor);
        let new = self.expires_in_days.into_iter().fold(new, CreateApiKey::expires_in_days);
        self.rate_limit.into_iter().fold(new, |new, limit| new.rate_limit(limit.requests, limit.window()))
    }
}

/// How a key is rotated.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// How many hours the old key lives on, 24 where not said. 0 for one that somebody else may know.
    #[serde(default = "a_day")]
    #[schemars(range(min = 0, max = 168))]
    overlap_hours: u32,
}

fn a_day() -> u32 {
    24
}

impl Rotation {
    async fn of(self, db: &Db, owner: KeyOwner, key_id: String, user: &CurrentUser) -> Result<Created<NewApiKey>> {
        let overlap = Duration::from_secs(u64::from(self.overlap_hours) * 3600);
        let rotation = rotate_api_key(db, owner, key_id, &user.id).overlap(overlap);
        rotation.with_second_factor(user.has_second_factor).await.map(Created::new)
    }
}

fn mine(user: &CurrentUser) -> KeyOwner {
    KeyOwner::User(user.id.clone())
}

async fn make_own(
    SignedIn(user): SignedIn,
    State(offered): State<Offered>,
    db: Db,
    Json(body): Json<NewKey>,
) -> Result<Created<NewApiKey>> {
    body.of(&db, &user, &offered).await.map(Created::new)
}

async fn list_own(SignedIn(user): SignedIn, db: Db) -> Result<Json<Vec<ApiKeyInfo>>> {
    list_api_keys(&db, &mine(&user)).await.map(Json)
}

async fn read_own(SignedIn(user): SignedIn, db: Db, Path(key_id): Path<String>) -> Result<Json<ApiKeyInfo>> {
    read_api_key(&db, &mine(&user), &key_id).await.map(Json)
}

async fn revoke_own(SignedIn(user): SignedIn, db: Db, Path(key_id): Path<String>) -> Result<NoContent> {
    revoke_api_key(&db, &mine(&user), &key_id).await.map(|()| NoContent)
}

async fn rotate_own(
    SignedIn(user): SignedIn,
    db: Db,
    Path(key_id): Path<String>,
    Json(body): Json<Rotation>,
) -> Result<Created<NewApiKey>> {
    body.of(&db, mine(&user), key_id, &user).await
}

/// The workspace of the path, for its owners and admins.
fn ours(here: &Here) -> Result<KeyOwner> {
    here.role.check_is_admin()?;
    Ok(KeyOwner::Workspace(here.workspace_id.clone()))
}

async fn make_ours(here: Here, State(offered): State<Offered>, Json(body): Json<NewKey>) -> Result<Created<NewApiKey>> {
    ours(&here)?;
    let new = body.of(here.kernel_db(), &here.user, &offered);
    new.workspace(&here.workspace_id).await.map(Created::new)
}

async fn list_ours(here: Here) -> Result<Json<Vec<ApiKeyInfo>>> {
    list_api_keys(here.kernel_db(), &ours(&here)?).await.map(Json)
}

async fn read_ours(here: Here, Path((_, key_id)): Path<(String, String)>) -> Result<Json<ApiKeyInfo>> {
    read_api_key(here.kernel_db(), &ours(&here)?, &key_id).await.map(Json)
}

async fn revoke_ours(here: Here, Path((_, key_id)): Path<(String, String)>) -> Result<NoContent> {
    revoke_api_key(here.kernel_db(), &ours(&here)?, &key_id).await.map(|()| NoContent)
}

async fn rotate_ours(
    here: Here,
    Path((_, key_id)): Path<(String, String)>,
    Json(body): Json<Rotation>,
) -> Result<Created<NewApiKey>> {
    body.of(here.kernel_db(), ours(&here)?, key_id, &here.user).await
}
