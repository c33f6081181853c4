//! A widget service: the quick start of the README.
use app_kernel::prelude::*;

/// A thing somebody owns.
#[derive(Entity, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Widget {
    name: String,
    #[entity(default = "blue")]
    #[serde(default = "blue")]
    color: String,
    #[entity(index)]
    #[serde(skip_deserializing)] // set by the server, never by the client
    owner_id: String,
}

fn blue() -> String {
    "blue".into()
}

async fn create(user: CurrentUser, db: Db, Json(mut new): Json<Widget>) -> Result<Created<Saved<Widget>>> {
    new.owner_id = user.id.clone();
    Ok(Created::new(db.save(new).await?))
}

async fn list(user: CurrentUser, db: Db) -> Result<Json<Vec<Saved<Widget>>>> {
    Ok(Json(db.find("[owner_id] = ?", [&user.id]).await?))
}

async fn read(user: CurrentUser, db: Db, Path(id): Path<String>) -> Result<Json<Saved<Widget>>> {
    let widget = db.get::<Widget>(id).await?.filter(|widget| widget.owner_id == user.id);
    Ok(Json(widget.or_not_found("widget")?))
}

fn main() -> Result<()> {
    Service::new("widget_service", ServiceConfig::from_env()?.dev_defaults())
        .entity::<Widget>()
        .route("/widgets", post(create).get(list))
        .route("/widgets/{id}", get(read))
        .run()
}
