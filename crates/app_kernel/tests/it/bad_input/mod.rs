//! Bad input costs no data and is never our fault: whatever is sent, the answer is below 500, in one shape, and afterwards every row
//! that was there is as it was, with as many versions and change records as it has.

mod hostile;
mod mutations;

use std::collections::BTreeMap;

use app_kernel::prelude::*;
use app_kernel::store::db::value::Value;
use app_kernel::testing::{Answer, TestDatabase, TestService};
use jiff::civil::{Date, Time};
use rust_decimal::Decimal;
use serde_json::{Map, Value as Any, json};
use uuid::Uuid;

/// A thing with a column of each kind, and with rules of the database's own.
#[derive(Debug, Clone, Entity, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Item {
    #[entity(unique)]
    name: String,
    #[entity(index)]
    owner: Option<String>,
    note: Option<String>,
    #[entity(default = "active", check = "[status] IN ('active', 'archived')")]
    #[serde(default = "active")]
    status: String,
    #[entity(foreign_key = "items.id")]
    parent_id: Option<String>,
    size: Option<i64>,
    weight: Option<f64>,
    price: Option<Decimal>,
    due: Option<Timestamp>,
    day: Option<Date>,
    hour: Option<Time>,
    code: Option<Uuid>,
    bytes: Option<Vec<u8>>,
    meta: Option<Any>,
    tags: Option<Vec<String>>,
    is_on: Option<bool>,
}

fn active() -> String {
    "active".to_owned()
}

/// An item as an honest client sends it.
fn item(name: &str) -> Any {
    json!({
        "name": name, "owner": "ann", "note": "good", "status": "active", "size": 3, "weight": 0.5, "price": "19.99",
        "due": "2026-01-30T12:34:56.789012Z", "day": "2024-02-29", "hour": "23:59:59",
        "code": "0190b6c3-e5f3-7cc2-9d1e-2f6a4b8c0d1e", "meta": { "a": [1, null] }, "tags": ["x"],
        "is_on": true
    })
}

/// What a service without structs hands to the store as it came.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Asked {
    r#where: String,
    /// A JSON array.
    params: Option<String>,
    order: String,
    limit: Option<u32>,
    offset: Option<u32>,
    after: Option<String>,
    include_deleted: bool,
}

impl Asked {
    fn params(&self) -> Result<Vec<Value>> {
        let text = self.params.as_deref().unwrap_or("[]");
        let list: Vec<Any> = serde_json::from_str(text).map_err(|_| Error::invalid("`params` is no JSON array"))?;
        Ok(list.into_iter().map(Value::from).collect())
    }
}

async fn create(db: Db, Json(new): Json<Item>) -> Result<Created<Saved<Item>>> {
    db.save(new).await.map(Created::new)
}

async fn create_many(db: Db, Json(new): Json<Vec<Item>>) -> Result<Json<usize>> {
    db.save_many(new).await.map(|saved| Json(saved.len()))
}

async fn read(db: Db, Path(id): Path<String>) -> Result<Json<Saved<Item>>> {
    db.get(id).await?.or_not_found("item").map(Json)
}

async fn save_row(db: Db, Path(name): Path<String>, Json(row): Json<Map<String, Any>>) -> Result<Json<Row>> {
    db.save_entity(name, Any::Object(row)).await.map(Json)
}

async fn find_rows(db: Db, Path(name): Path<String>, Query(asked): Query<Asked>) -> Result<Json<Page<Row>>> {
    let mut find = db.find_entities(name).where_clause(asked.r#where.as_str(), asked.params()?).order_by(&asked.order);
    find = asked.limit.into_iter().fold(find, |find, limit| find.limit(limit));
    find = asked.offset.into_iter().fold(find, |find, offset| find.offset(offset));
    find = asked.after.into_iter().fold(find, |find, after| find.after(after));
    find = if asked.include_deleted { find.include_deleted() } else { find };
    find.page().await.map(Json)
}

async fn count_rows(db: Db, Path(name): Path<String>, Query(asked): Query<Asked>) -> Result<Json<i64>> {
    db.count_entities(name).where_clause(asked.r#where.as_str(), asked.params()?).await.map(Json)
}

async fn read_row(db: Db, Path((name, id)): Path<(String, String)>) -> Result<Json<Row>> {
    db.get_entity(name, id).await?.or_not_found("row").map(Json)
}

async fn delete_row(db: Db, Path((name, id)): Path<(String, String)>) -> Result<Json<bool>> {
    db.delete_entity(name, id).await.map(Json)
}

async fn versions(db: Db, Path((name, id)): Path<(String, String)>) -> Result<Json<Vec<Version>>> {
    db.entity_history(name, id).await.map(Json)
}

fn items(mut config: ServiceConfig) -> Service {
    // Change records are counted here, so they stay.
    config.admin_worker_embedded = false;
    Service::new("item_service", config)
        .entity::<Item>()
        .route("/items", post(create))
        .route("/items/many", post(create_many))
        .route("/items/{id}", get(read))
        .route("/rows/{name}", post(save_row).get(find_rows))
        .route("/rows/{name}/count", get(count_rows))
        .route("/rows/{name}/by-id/{id}", get(read_row).delete(delete_row))
        .route("/rows/{name}/by-id/{id}/history", get(versions))
}

/// A service with some rows that nobody is going to name.
struct Stage {
    service: TestService,
    before: BTreeMap<String, Any>,
}

impl Stage {
    async fn set(database: TestDatabase) -> Self {
        let service = TestService::start_on(database, items).await;
        let db = service.db();
        let mut before = BTreeMap::new();
        for n in 0..10 {
            let row = db.save_entity("items", item(&format!("earlier {n}"))).await.expect("a save");
            db.save_entity("items", json!({ "id": row.id(), "size": n })).await.expect("a second version");
            let row = db.get_entity("items", row.id()).await.expect("a read").expect("a row");
            before.insert(row.id().to_owned(), row.to_json());
        }
        Stage { service, before }
    }

    /// All that has been promised to the rows.
    async fn check(&self) -> Census {
        let db = self.service.db();
        for (id, before) in &self.before {
            let now = db.get_entity("items", id).await.expect("a read").unwrap_or_else(|| panic!("{id} is gone"));
            assert_eq!(&now.to_json(), before);
        }
        census(&db, "items").await
    }
}

/// How much there is of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Census {
    rows: i64,
    versions: i64,
}

/// Counts the rows of an entity; they have as many versions and change records as their version numbers say.
async fn census(db: &Db, entity: &str) -> Census {
    let count = async |sql: String, params: Vec<Value>| {
        let rows = db.query(sql, params).await.expect("a count");
        rows[0]["n"].as_int().expect("a number")
    };
    let all = db.query(format!("SELECT [version] FROM [{entity}]"), ()).await.expect("the rows");
    let (rows, sum) = (all.len() as i64, all.iter().filter_map(|row| row["version"].as_int()).sum::<i64>());
    let versions = count(format!("SELECT COUNT(*) AS [n] FROM [{entity}_history]"), vec![]).await;
    let changes = "SELECT COUNT(*) AS [n] FROM [kernel_changes] WHERE [entity] = ?".to_owned();
    let changes = count(changes, vec![entity.into()]).await;
    assert_eq!((versions, changes), (sum, sum), "versions and change records of {rows} rows of {entity}");
    Census { rows, versions }
}

/// Any answer that bad input may get: not our fault, and where it is a refusal, in the one shape.
#[track_caller]
fn check_answer(answer: &Answer) {
    assert!(answer.status < 500, "{answer:?}");
    if answer.status >= 400 {
        let code = answer.json()["code"].as_str().expect("a code").to_owned();
        let _ = answer.clone().expect_problem(answer.status, &code);
    }
}
