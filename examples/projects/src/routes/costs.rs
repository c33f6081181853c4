//! What a workspace has used. Behind the flag `costs`, for those who try it first.

use app_kernel::feature::metering::get_usage;
use app_kernel::prelude::*;

use super::deployments;
use crate::tasks;

/// The flag: whoever has it not finds no costs.
pub const FLAG: &str = "costs";

/// What a workspace has used.
#[derive(Serialize, JsonSchema)]
pub struct Costs {
    /// Deployments, ever.
    deployments: i64,
    /// Replicas that were started, ever.
    replicas_started: i64,
    /// Requests, ever.
    requests: i64,
}

/// `GET /costs`
pub async fn read(member: WorkspaceMember, kernel: Kernel) -> Result<Json<Costs>> {
    if !flag_enabled(&kernel, FLAG).user(&member.user.id).workspace(&member.workspace_id).await? {
        return Err(Error::not_found("there are no costs here yet"));
    }
    let admin_db = kernel.admin_db()?;
    let usage = get_usage(&admin_db).app(kernel.service_name()).workspace(&member.workspace_id).await?;
    Ok(Json(Costs {
        deployments: usage.get(deployments::METRIC),
        replicas_started: usage.get(tasks::REPLICAS_STARTED),
        requests: usage.get("requests"),
    }))
}
