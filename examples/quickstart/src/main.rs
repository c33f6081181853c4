//! A widget service: the quick start of the README.
use app_kernel::prelude::*;

/// A thing somebody owns.
#[derive(Entity, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Widget {
    name: String,
    #[serde(default = "blue")]
    color: String,
    #[entity(index)]
    #[serde(skip_deserializing)] // set by the server, never by the client
    owner_id: String,
}

fn blue() -> String {
    "blue".into()
}

async fn create(user: CurrentUser, db: Db, Json(new): Json<Widget>) -> Result<Created<Saved<Widget>>> {
    db.save(Widget { owner_id: user.id.clone(), ..new }).await.map(Created::new)
}

async fn list(user: CurrentUser, db: Db) -> Result<Json<Vec<Saved<Widget>>>> {
    db.find("[owner_id] = ?", [&user.id]).await.map(Json)
}

async fn read(user: CurrentUser, db: Db, Path(id): Path<String>) -> Result<Json<Saved<Widget>>> {
    db.find("[id] = ? AND [owner_id] = ?", [&id, &user.id]).first().await?.or_not_found("widget").map(Json)
}

async fn history(user: CurrentUser, db: Db, Path(id): Path<String>) -> Result<Json<Vec<Version>>> {
    read(user, db.clone(), Path(id.clone())).await?;
    db.history::<Widget>(id).await.map(Json)
}

fn main() -> Result<()> {
    Service::new("widget_service", ServiceConfig::from_env()?.dev_defaults())
        .entity::<Widget>()
        .route("/widgets", post(create).get(list))
        .route("/widgets/{id}", get(read))
        .route("/widgets/{id}/history", get(history))
        .run()
}
