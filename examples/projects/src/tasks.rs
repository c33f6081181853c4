//! Work that outlives the request. A task runs at least once, so it may run twice without harm.

use app_kernel::feature::metering::track_usage;
use app_kernel::prelude::*;
use serde_json::json;

use crate::models::{Deployment, DeploymentStatus, Service};

/// The counter of replicas that were started.
pub const REPLICAS_STARTED: &str = "replicas_started";

/// What [`roll_out`] is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct RollOut {
    /// The deployment.
    pub deployment_id: String,
}

/// What [`roll_out`] answers; `/jobs/{id}` shows it.
#[derive(Debug, Serialize)]
pub struct RolledOut {
    replicas: u32,
}

/// Brings a deployment out, one replica after the other. What starts a container would stand in the loop.
#[task(max_attempts = 5, timeout = "10m")]
pub async fn roll_out(payload: RollOut, ctx: JobContext) -> Result<RolledOut, JobError> {
    let Some(mut deployment) = ctx.db.get::<Deployment>(&payload.deployment_id).await? else {
        return Err(JobError::discard("the deployment was deleted"));
    };
    let Some(service) = ctx.db.get::<Service>(&deployment.service_id).await? else {
        return Err(JobError::discard("the service was deleted"));
    };
    let rolled_out = RolledOut { replicas: service.replicas };
    if deployment.status == DeploymentStatus::Running {
        return Ok(rolled_out); // an earlier try came so far
    }
    for replica in 1..=service.replicas {
        ctx.progress(json!({ "replica": replica, "of": service.replicas })).await?;
    }
    deployment.status = DeploymentStatus::Running;
    let workspace_id = deployment.workspace_id.clone();
    ctx.db
        .transaction(async |tx| {
            let running = tx.save(deployment.clone()).await?;
            let event = json!({ "deployment_id": running.id, "service": service.name, "status": running.status });
            trigger_webhook_event(&tx, &workspace_id, "deployment.running", event).await
        })
        .await?;
    track_usage(ctx.kernel()).workspace(&workspace_id).count(REPLICAS_STARTED, service.replicas.into()).record()?;
    Ok(rolled_out)
}
