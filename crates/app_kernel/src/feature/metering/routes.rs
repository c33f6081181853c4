//! `/usage` over HTTP.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::{By, Usage, UsageOf, get_usage};
use crate::base::error::Result;
use crate::feature::auth::AdminUser;
use crate::kernel::Kernel;
use crate::web::extract::{Json, Query};
use crate::web::openapi::{Refusal, refusing, says};

/// The routes, without a prefix.
pub(crate) fn routes() -> ApiRouter<Kernel> {
    ApiRouter::new().api_route("/usage", get_with(read, refusing(&[Refusal::Forbidden], says(
        "The usage",
        "For admins: how much was used, in all and told apart by something. A request shows here a second after it ended.",
    ))))
}

/// Which usage. All that is given must hold.
#[derive(Deserialize, JsonSchema)]
struct Wanted {
    /// A year, month or day in UTC, such as 2025-01.
    #[serde(default)]
    period: Option<String>,
    #[serde(default)]
    workspace_id: Option<String>,
    #[serde(default)]
    user_id: Option<String>,
    #[serde(default)]
    key_id: Option<String>,
    /// Method and template of a route: `GET /widgets/{id}`.
    #[serde(default)]
    endpoint: Option<String>,
    /// What to tell it apart by.
    #[serde(default)]
    by: Option<By>,
}

/// How much was used.
#[derive(Serialize, JsonSchema)]
struct UsageReport {
    total: Usage,
    /// Where `by` was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<Vec<UsageOf>>,
}

async fn read(_: AdminUser, kernel: Kernel, Query(wanted): Query<Wanted>) -> Result<Json<UsageReport>> {
    let admin = kernel.admin_db()?;
    let ask = || {
        let Wanted { period, workspace_id, user_id, key_id, endpoint, .. } = &wanted;
        let usage = get_usage(&admin).app(kernel.service_name());
        let usage = period.iter().fold(usage, |usage, period| usage.period(period));
        let usage = workspace_id.iter().fold(usage, |usage, id| usage.workspace(id));
        let usage = user_id.iter().fold(usage, |usage, id| usage.user(id));
        let usage = key_id.iter().fold(usage, |usage, id| usage.key(id));
        endpoint.iter().fold(usage, |usage, endpoint| usage.endpoint(endpoint))
    };
    let lines = match wanted.by {
        Some(by) => Some(ask().by(by).await?),
        None => None,
    };
    Ok(Json(UsageReport { total: ask().await?, lines }))
}
