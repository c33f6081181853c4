//! `/audit` over HTTP.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use schemars::JsonSchema;
use serde::Deserialize;

use super::api::{AuditEntry, get_audit_logs};
use crate::base::error::Result;
use crate::feature::auth::AdminUser;
use crate::kernel::Kernel;
use crate::store::db::Page;
use crate::web::extract::{Json, Query};
use crate::web::openapi::{Refusal, refusing, says};

/// The routes, without a prefix.
pub(crate) fn routes() -> ApiRouter<Kernel> {
    ApiRouter::new().api_route("/audit", get_with(list, refusing(&[Refusal::Forbidden], says(
        "The audit",
        "For admins: who changed what and when, the newest first. A change shows here a moment after it was made.",
    ))))
}

/// Which entries. All that is given must hold.
#[derive(Deserialize, JsonSchema)]
struct Wanted {
    /// An entity's name.
    #[serde(default)]
    entity: Option<String>,
    /// A row's id.
    #[serde(default)]
    entity_id: Option<String>,
    /// Who did it.
    #[serde(default)]
    user_id: Option<String>,
    /// `created`, `updated`, `soft_deleted` or `deleted`.
    #[serde(default)]
    action: Option<String>,
    /// A day or time: what was changed then or later.
    #[serde(default)]
    since: Option<String>,
    /// A day or time: what was changed before.
    #[serde(default)]
    until: Option<String>,
    /// The `next` of the page before.
    #[serde(default)]
    cursor: Option<String>,
    /// 1 to 1,000; 100 where not said.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

async fn list(_: AdminUser, kernel: Kernel, Query(wanted): Query<Wanted>) -> Result<Json<Page<AuditEntry>>> {
    let mut logs = get_audit_logs(&kernel.admin_db()?).app(kernel.service_name());
    let Wanted { entity, entity_id, user_id, action, since, until, cursor, limit } = wanted;
    logs = entity.into_iter().fold(logs, |logs, entity| logs.entity(entity));
    logs = entity_id.into_iter().fold(logs, |logs, id| logs.entity_id(id));
    logs = user_id.into_iter().fold(logs, |logs, user| logs.user(user));
    logs = action.into_iter().fold(logs, |logs, action| logs.action(action));
    logs = since.into_iter().fold(logs, |logs, since| logs.since(since));
    logs = until.into_iter().fold(logs, |logs, until| logs.until(until));
    logs = cursor.into_iter().fold(logs, |logs, cursor| logs.cursor(cursor));
    logs.limit(limit.unwrap_or(100).min(1000)).await.map(Json)
}
