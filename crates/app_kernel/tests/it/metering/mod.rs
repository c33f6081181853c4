//! Metering: every request is counted once, and quotas hold.

mod quotas;
mod requests;

use std::time::Duration;

use app_kernel::feature::metering::{Usage, get_usage, track_usage};
use app_kernel::prelude::*;
use app_kernel::testing::TestService;

/// How long the worker may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn hello() -> &'static str {
    "hello"
}

async fn think(user: CurrentUser, kernel: Kernel, Path(tokens): Path<i64>) -> Result<Json<i64>> {
    let workspace = user.workspace_id.clone().unwrap_or_default();
    track_usage(&kernel).user(&*user.id).workspace(workspace).count("tokens", tokens).count("thoughts", 1).record()?;
    Ok(Json(tokens))
}

fn thinker(config: ServiceConfig) -> Service {
    Service::new("thinker", config).route("/hello/{name}", get(hello)).route("/think/{tokens}", post(think))
}

/// The usage of the service, once so much of something is there.
async fn usage_with(service: &TestService, metric: &str, amount: i64) -> Usage {
    let admin = service.kernel().admin_db().expect("an admin database");
    let found = async {
        loop {
            let usage = get_usage(&admin).app("thinker").await.expect("usage");
            if usage.get(metric) >= amount {
                return usage;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("the worker moves what was counted")
}
