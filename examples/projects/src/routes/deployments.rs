//! Deployments: by people, and by programs whose API key has the scope. A workspace has so many a month.

use app_kernel::feature::metering::consume_quota;
use app_kernel::prelude::*;
use serde_json::json;

use super::{projects, services};
use crate::models::{Deployment, DeploymentStatus, ProjectStatus};
use crate::tasks::{RollOut, roll_out};

/// What a workspace's quota counts.
pub const METRIC: &str = "deployments";
/// How many deployments a workspace has in a month (UTC).
pub const DEPLOYMENTS_PER_MONTH: i64 = 100;

scope! {
    /// To bring services out.
    pub DeploymentsWrite = "deployments:write";
    /// To see what was brought out.
    pub DeploymentsRead = "deployments:read";
}

/// A deployment, and the job that rolls it out.
#[derive(Serialize, JsonSchema)]
pub struct Begun {
    deployment: Saved<Deployment>,
    /// For `/jobs/{id}`.
    job_id: String,
}

/// `POST /services/{id}/deployments`
pub async fn create(
    auth: RequireScope<DeploymentsWrite>,
    kernel: Kernel,
    jobs: Jobs,
    Path(id): Path<String>,
) -> Result<Created<Begun>> {
    let db = auth.db();
    let service = services::find(&db, &id).await?;
    let project = projects::find(&db, &service.project_id).await?;
    if project.status == ProjectStatus::Archived {
        return Err(Error::conflict("the project is archived").code("project_archived"));
    }
    let quota = consume_quota(&kernel).workspace(&auth.workspace_id).metric(METRIC);
    if !quota.limit(DEPLOYMENTS_PER_MONTH).await? {
        let spent = format!("all {DEPLOYMENTS_PER_MONTH} deployments of this month are used");
        return Err(Error::forbidden(spent).status(402).code("quota_exceeded"));
    }
    // The row, the event and the job: all of them, or none.
    db.transaction(async |tx| {
        let deployment = tx
            .save(Deployment {
                workspace_id: auth.workspace_id.clone(),
                service_id: service.id.clone(),
                image: service.image.clone(),
                status: DeploymentStatus::Pending,
            })
            .await?;
        let event = json!({ "deployment_id": deployment.id, "service": service.name, "status": deployment.status });
        trigger_webhook_event(&tx, &auth.workspace_id, "deployment.created", event).await?;
        let job = jobs.on(&tx).enqueue(roll_out, RollOut { deployment_id: deployment.id.clone() }).await?;
        Ok(Created::new(Begun { deployment, job_id: job.job_id }))
    })
    .await
}

/// `GET /services/{id}/deployments`: the newest first.
pub async fn list(auth: RequireScope<DeploymentsRead>, Path(id): Path<String>) -> Result<Json<Vec<Saved<Deployment>>>> {
    let db = auth.db();
    let service = services::find(&db, &id).await?;
    db.find("[service_id] = ?", [service.id]).order_by("[created_at] DESC").await.map(Json)
}
