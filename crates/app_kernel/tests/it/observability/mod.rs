//! How a service tells of itself: metrics, and traces.

mod metrics;
mod roles;
#[cfg(feature = "otel")]
mod traces;

use app_kernel::prelude::*;
use app_kernel::testing::Client;
use serde_json::json;

/// What is kept.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Entity)]
pub(crate) struct Lamp {
    pub(crate) name: String,
}

/// What is left for later.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Polish {
    pub(crate) lamp: String,
}

/// Reads the lamp.
#[task]
async fn polish(payload: Polish, ctx: JobContext) -> Result<()> {
    ctx.db.get::<Lamp>(&payload.lamp).await?.or_not_found("no such lamp").map(drop)
}

async fn make(db: Db, jobs: Jobs, Json(lamp): Json<Lamp>) -> Result<Json<String>> {
    let lamp = db.save(lamp).await?;
    jobs.enqueue(polish, Polish { lamp: lamp.id.clone() }).await?;
    Ok(Json(lamp.id.clone()))
}

async fn read(kernel: Kernel, db: Db, Path(id): Path<String>) -> Result<Json<String>> {
    kernel.metrics().counter("lamps_read_total", "Lamps that were read.", &[("room", "hall")])?.inc();
    Ok(Json(db.get::<Lamp>(&id).await?.or_not_found("no such lamp")?.name.clone()))
}

pub(crate) fn lamps(config: ServiceConfig) -> Service {
    Service::new("lamps", config)
        .version("1.2.3")
        .entity::<Lamp>()
        .task(polish)
        .route("/lamps", post(make))
        .route("/lamps/{id}", get(read))
}

/// Makes a lamp, and answers its id.
pub(crate) async fn make_lamp(client: &Client) -> String {
    let made = client.post("/lamps", json!({ "name": "brass" })).await.expect(200).json();
    made.as_str().expect("an id").to_owned()
}
