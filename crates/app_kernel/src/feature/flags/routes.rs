//! `/flags` over HTTP for admins, and what flags say to whoever is signed in.

use std::collections::BTreeMap;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use aide::transform::TransformOperation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::{delete_flag, evaluate_all, list_flags, set_flag};
use super::model::{Change, Evaluation, Subject, Variant};
use super::ofrep;
use super::store::{self, Flag};
use crate::base::clock::{Timestamp, iso};
use crate::base::error::{OrNotFound as _, Result};
use crate::feature::auth::{AdminUser, CurrentUser};
use crate::kernel::Kernel;
use crate::store::db::Db;
use crate::store::db::row::Saved;
use crate::web::extract::{Json, Path};
use crate::web::openapi::{Refusal, refusing, says};
use crate::web::reply::NoContent;

/// The routes, without a prefix.
pub(crate) fn routes() -> ApiRouter<Kernel> {
    ApiRouter::new()
        .api_route("/flags", get_with(list, guarded("All feature flags", "For admins, by name.")))
        .api_route(
            "/flags/{name}",
            get_with(read, guarded("A feature flag", "For admins."))
                .put_with(put, guarded("Set a feature flag", "For admins: the whole flag, new or in place of the one there is. It holds in all processes within two seconds."))
                .patch_with(patch, guarded("Change a feature flag", "For admins. What is given changes."))
                .delete_with(remove, guarded("Delete a feature flag", "For admins. It is off then.")),
        )
        .api_route("/my-flags", get_with(mine, says(
            "My feature flags",
            "What each flag says to whoever is signed in, in the workspace that the request is about.",
        )))
        .merge(ofrep::routes())
}

/// For admins, about a flag that may not be there.
fn guarded(
    summary: &'static str,
    description: &'static str,
) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    refusing(&[Refusal::Forbidden, Refusal::NotFound], says(summary, description))
}

/// A flag, as admins see it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FeatureFlag")]
struct FlagView {
    name: String,
    enabled: bool,
    rollout_percent: f64,
    users: Vec<String>,
    workspaces: Vec<String>,
    variants: Vec<Variant>,
    default_variant: Option<String>,
    description: Option<String>,
    version: i64,
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    updated_at: Timestamp,
}

impl From<Saved<Flag>> for FlagView {
    fn from(saved: Saved<Flag>) -> Self {
        let (version, updated_at) = (saved.version, saved.updated_at);
        let Flag { name, enabled, rollout_percent, users, workspaces, variants, default_variant, description } =
            saved.entity;
        FlagView {
            name,
            enabled,
            rollout_percent,
            users,
            workspaces,
            variants,
            default_variant,
            description,
            version,
            updated_at,
        }
    }
}

/// A whole flag.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewFeatureFlag")]
struct WholeFlag {
    /// Whether anybody has it.
    enabled: bool,
    /// How many have it, beside those that are listed; 100 where it is not said and nobody is listed, else 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    rollout_percent: Option<f64>,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    workspaces: Vec<String>,
    #[serde(default)]
    variants: Vec<Variant>,
    /// What everybody gets who has not the flag; needed where there are variants.
    #[serde(default)]
    default_variant: Option<String>,
    #[serde(default)]
    description: Option<String>,
}

impl From<WholeFlag> for Change {
    fn from(flag: WholeFlag) -> Self {
        let WholeFlag { enabled, rollout_percent, users, workspaces, variants, default_variant, description } = flag;
        let usual = if users.is_empty() && workspaces.is_empty() { 100.0 } else { 0.0 };
        Change {
            enabled: Some(enabled),
            rollout_percent: Some(rollout_percent.unwrap_or(usual)),
            users: Some(users),
            workspaces: Some(workspaces),
            variants: Some(variants),
            default_variant: Some(default_variant),
            description: Some(description),
        }
    }
}

/// What is to change.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FeatureFlagChange")]
struct PartOfFlag {
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    rollout_percent: Option<f64>,
    #[serde(default)]
    users: Option<Vec<String>>,
    #[serde(default)]
    workspaces: Option<Vec<String>>,
    #[serde(default)]
    variants: Option<Vec<Variant>>,
    #[serde(default)]
    default_variant: Option<String>,
    #[serde(default)]
    description: Option<String>,
}

impl From<PartOfFlag> for Change {
    fn from(part: PartOfFlag) -> Self {
        let PartOfFlag { enabled, rollout_percent, users, workspaces, variants, default_variant, description } = part;
        let (default_variant, description) = (default_variant.map(Some), description.map(Some));
        Change { enabled, rollout_percent, users, workspaces, variants, default_variant, description }
    }
}

async fn list(_: AdminUser, db: Db) -> Result<Json<Vec<FlagView>>> {
    Ok(Json(list_flags(&db).await?.into_iter().map(FlagView::from).collect()))
}

async fn read(_: AdminUser, db: Db, Path(name): Path<String>) -> Result<Json<FlagView>> {
    Ok(Json(store::by_name(&db, &name).await?.or_not_found("feature flag")?.into()))
}

async fn put(
    _: AdminUser,
    kernel: Kernel,
    db: Db,
    Path(name): Path<String>,
    Json(flag): Json<WholeFlag>,
) -> Result<Json<FlagView>> {
    Ok(Json(set_flag(&kernel, name).on(&db).change(flag.into()).await?.into()))
}

async fn patch(
    _: AdminUser,
    kernel: Kernel,
    db: Db,
    Path(name): Path<String>,
    Json(part): Json<PartOfFlag>,
) -> Result<Json<FlagView>> {
    store::by_name(&db, &name).await?.or_not_found("feature flag")?;
    Ok(Json(set_flag(&kernel, name).on(&db).change(part.into()).await?.into()))
}

async fn remove(_: AdminUser, kernel: Kernel, db: Db, Path(name): Path<String>) -> Result<NoContent> {
    let was_there = delete_flag(&kernel, &db, &name).await?;
    was_there.then_some(NoContent).or_not_found("feature flag")
}

async fn mine(user: CurrentUser, kernel: Kernel) -> Result<Json<BTreeMap<String, Evaluation>>> {
    let subject = Subject { user_id: Some(user.id.clone()), workspace_id: user.workspace_id.clone() };
    Ok(Json(evaluate_all(&kernel, &subject).await?.into_iter().collect()))
}
