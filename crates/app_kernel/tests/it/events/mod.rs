//! Changes as they happen: each once and in order, to those who may read what changed, however the stream was cut off.

mod feed;
mod limits;
mod over_http;
mod processes;

use app_kernel::prelude::*;
use app_kernel::store::db::feed::{ChangeEvent, ChangeStream, RowChange};
use app_kernel::testing::Client;
use axum::response::Response;
use futures_util::StreamExt as _;
use serde_json::json;

/// Something that belongs to a workspace, with a secret.
#[derive(Debug, Clone, PartialEq, Entity, Serialize, Deserialize, JsonSchema)]
struct Widget {
    name: String,
    #[serde(default)]
    workspace_id: String,
    #[entity(secret)]
    #[serde(default)]
    word: Option<String>,
}

/// Something that keeps no history.
#[derive(Debug, Clone, Entity)]
#[entity(history = false)]
struct Visit {
    page: String,
}

async fn save(member: WorkspaceMember, Json(widget): Json<Widget>) -> Result<Created<Saved<Widget>>> {
    member.db().save(widget).await.map(Created::new)
}

async fn watch(member: WorkspaceMember, events: EventStream) -> Result<Response> {
    events.send(member.db().changes().of::<Widget>()).await
}

async fn watch_all(db: Db, events: EventStream, Path(entity): Path<String>) -> Result<Response> {
    events.send(db.changes().of_entity(entity)).await
}

/// The service of these tests.
fn shop(config: ServiceConfig) -> Service {
    Service::new("shop", config)
        .entity::<Widget>()
        .entity::<Visit>()
        .route("/widgets", post(save))
        .route("/widgets/events", get(watch))
        .route("/everything/{entity}", get(watch_all))
}

fn widget(name: &str, workspace_id: &str) -> Widget {
    Widget { name: name.to_owned(), workspace_id: workspace_id.to_owned(), word: Some("hunter2".to_owned()) }
}

/// Somebody saves a widget in their workspace.
async fn post_widget(client: &Client, name: &str) {
    client.post("/widgets", json!({ "name": name, "word": "hunter2" })).await.expect(201);
}

/// The next change of a stream.
async fn change<R>(changes: &mut ChangeStream<R>) -> RowChange<R> {
    match event(changes).await {
        ChangeEvent::Change(change) => change,
        ChangeEvent::Reset { position } => panic!("changes up to {position} are missing"),
    }
}

async fn event<R>(changes: &mut ChangeStream<R>) -> ChangeEvent<R> {
    let next = tokio::time::timeout(std::time::Duration::from_secs(60), changes.next()).await;
    next.expect("something is told in time").expect("the stream goes on").expect("the log can be read")
}
