//! The audit: carried once each, told with what changed, and chained so that tampering shows.

mod chain;
mod entries;
mod hands;
mod shared;

use std::time::Duration;

use app_kernel::feature::audit::{AuditEntry, get_audit_logs};
use app_kernel::prelude::*;
use app_kernel::testing::TestService;

/// How long the relay may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Something with a secret.
#[derive(Debug, Clone, Entity, Serialize, Deserialize, JsonSchema)]
struct Deployment {
    image: String,
    replicas: i64,
    #[entity(secret)]
    #[serde(default)]
    token: Option<String>,
}

async fn save(db: Db, Json(deployment): Json<Deployment>) -> Result<Created<Saved<Deployment>>> {
    db.save(deployment).await.map(Created::new)
}

async fn remove(db: Db, Path(id): Path<String>) -> Result<Json<bool>> {
    db.delete::<Deployment>(id).await.map(Json)
}

fn deployments(config: ServiceConfig) -> Service {
    Service::new("deployer", config)
        .entity::<Deployment>()
        .route("/deployments", post(save))
        .route("/deployments/{id}", delete(remove))
}

fn deployment(image: &str, replicas: i64) -> Deployment {
    Deployment { image: image.to_owned(), replicas, token: None }
}

/// Waits until nothing is on its way to the audit any more.
pub(crate) async fn carried(db: &Db) {
    let all = async {
        while !db.query("SELECT [seq] FROM [kernel_changes] LIMIT 1", ()).await.expect("a query").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the relay carries what there is");
}

/// The entries of an entity once all are there, the newest first.
async fn entries(service: &TestService, entity: &str) -> Vec<AuditEntry> {
    carried(&service.db()).await;
    let admin = service.kernel().admin_db().expect("an admin database");
    get_audit_logs(&admin).app("deployer").entity(entity).await.expect("entries").items
}
