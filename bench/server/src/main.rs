//! The service that `bench/run` measures: widgets by id, by owner, and new ones, with everything on.
//!
//! `bench_server` serves. `bench_server jobs 50000` enqueues and runs jobs that do nothing, with `WORKER_CONCURRENCY=1000` in large batches. `bench_server seed 100000` fills an empty database with the rows of the programs it is measured beside.

mod jobs;
mod seed;

use app_kernel::prelude::*;

/// The same allocator as the programs beside it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A thing somebody owns.
#[derive(Entity, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Widget {
    #[entity(index)]
    owner_id: String,
    name: String,
    color: String,
    size: i64,
    weight: f64,
}

/// Whose widgets are listed.
#[derive(Deserialize, JsonSchema)]
struct Owner {
    owner_id: String,
}

async fn read(_: CurrentUser, db: Db, Path(id): Path<String>) -> Result<Json<Saved<Widget>>> {
    db.get(id).await?.or_not_found("widget").map(Json)
}

async fn list(_: CurrentUser, db: Db, Query(owner): Query<Owner>) -> Result<Json<Vec<Saved<Widget>>>> {
    db.find("[owner_id] = ?", [owner.owner_id]).await.map(Json)
}

async fn create(_: CurrentUser, db: Db, Json(new): Json<Widget>) -> Result<Created<Saved<Widget>>> {
    db.save(new).await.map(Created::new)
}

fn service(config: ServiceConfig) -> Service {
    Service::new("bench", config)
        .entity::<Widget>()
        .task(jobs::do_nothing)
        .route("/w", post(create).get(list))
        .route("/w/{id}", get(read))
}

fn main() -> Result<()> {
    let config = ServiceConfig::from_env()?;
    if let Some(count) = jobs::wanted_jobs() {
        return jobs::run(service, config, count);
    }
    match seed::wanted_rows() {
        Some(rows) => seed::run(service(config), rows),
        None => service(config).run(),
    }
}
