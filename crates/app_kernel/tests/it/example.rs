//! The README's example of a test, run.

use app_kernel::prelude::*;
use app_kernel::testing::TestService;
use serde_json::json;

/// What somebody writes down for themselves.
#[derive(Entity, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Note {
    text: String,
    #[entity(index)]
    #[serde(skip_deserializing)]
    owner_id: String,
}

async fn write(user: CurrentUser, db: Db, Json(new): Json<Note>) -> Result<Created<Saved<Note>>> {
    db.save(Note { owner_id: user.id.clone(), ..new }).await.map(Created::new)
}

async fn read(user: CurrentUser, db: Db, Path(id): Path<String>) -> Result<Json<Saved<Note>>> {
    db.find("[id] = ? AND [owner_id] = ?", [&id, &user.id]).first().await?.or_not_found("note").map(Json)
}

fn notes(config: ServiceConfig) -> Service {
    Service::new("notes", config).entity::<Note>().route("/notes", post(write)).route("/notes/{id}", get(read))
}

#[tokio::test]
async fn a_stranger_cannot_read_my_note() {
    let service = TestService::start(notes).await; // fn notes(config: ServiceConfig) -> Service
    let (ann, bob) = (service.sign_up("ann").await, service.sign_up("bob").await);
    let id = ann.post("/notes", json!({ "text": "buy gears" })).await.expect(201).id();
    ann.get(&format!("/notes/{id}")).await.expect(200);
    bob.get(&format!("/notes/{id}")).await.expect(404);
}
