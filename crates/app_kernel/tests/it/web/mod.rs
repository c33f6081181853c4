//! A service over real HTTP: what every answer has, whatever its handler does.

mod answers;
mod axum_parts;
mod documents;
mod problems;

use std::collections::HashMap;

use app_kernel::prelude::*;
use app_kernel::testing::TestService;

/// A thing that is made and read.
#[derive(Debug, Clone, Entity, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub(crate) struct Widget {
    #[garde(length(chars, min = 1, max = 20))]
    pub(crate) name: String,
    #[garde(range(min = 1, max = 9))]
    pub(crate) size: i64,
    #[serde(default)]
    #[garde(dive)]
    pub(crate) parts: Vec<Part>,
}

/// A part of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Part {
    #[garde(range(min = 1))]
    pub(crate) unit_price: i64,
}

#[derive(Deserialize, JsonSchema)]
struct Paging {
    limit: Option<u32>,
    #[serde(default)]
    newest_first: bool,
}

async fn create(db: Db, Valid(Json(new)): Valid<Json<Widget>>) -> Result<Created<Saved<Widget>>> {
    let saved = db.save(new).await?;
    let place = format!("/api/v1/widgets/{}", saved.id);
    Ok(Created::new(saved).at(place))
}

async fn list(db: Db, Query(paging): Query<Paging>) -> Result<Json<Vec<Saved<Widget>>>> {
    let order = if paging.newest_first { "[created_at] DESC" } else { "[created_at]" };
    db.find("", ()).order_by(order).limit(paging.limit.unwrap_or(100)).await.map(Json)
}

async fn read(db: Db, Path(id): Path<String>) -> Result<Json<Saved<Widget>>> {
    db.get(&id).await?.or_not_found("widget").map(Json)
}

/// The secret that no client may read.
const INSIDE: &str = "password=hunter2 at 10.0.0.7";

async fn panic() -> Json<()> {
    panic!("{INSIDE}");
}

async fn fail() -> Result<Json<()>> {
    Err(INSIDE).or_internal("counting the widgets")
}

async fn broken_sql(db: Db) -> Result<Json<()>> {
    db.query("SELECT [hunter2] FROM [no_such_table]", ()).await?;
    Ok(Json(()))
}

async fn long() -> Json<HashMap<&'static str, String>> {
    Json(HashMap::from([("text", "so much to say ".repeat(1000))]))
}

pub(crate) fn widgets(config: ServiceConfig) -> Service {
    Service::new("widget_service", config)
        .entity::<Widget>()
        .route("/widgets", post(create).get(list))
        .route("/widgets/{id}", get(read))
        .route("/admin", get(async |_: AdminUser| "admin"))
        .route("/me", get(async |user: CurrentUser| user.email.clone()))
        .route("/numbered/{n}", get(async |Path(n): Path<u8>| n.to_string()))
        .route("/panic", get(panic))
        .route("/fail", get(fail))
        .route("/broken-sql", get(broken_sql))
        .route("/long", get(long))
}

pub(crate) async fn start() -> TestService {
    TestService::start(widgets).await
}
