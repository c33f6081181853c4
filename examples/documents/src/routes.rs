//! What people may do with their documents. Those of others are not there for them.

use app_kernel::feature::jobs::Enqueued;
use app_kernel::prelude::*;

use crate::models::Document;
use crate::tasks::{ProcessDocument, process_document};

/// `POST /documents`
pub async fn create(
    user: CurrentUser,
    db: Db,
    Valid(Json(new)): Valid<Json<Document>>,
) -> Result<Created<Saved<Document>>> {
    db.save(Document { owner_id: user.id.clone(), ..new }).await.map(Created::new)
}

/// `GET /documents`
pub async fn list(user: CurrentUser, db: Db) -> Result<Json<Vec<Saved<Document>>>> {
    db.find("[owner_id] = ?", [&user.id]).await.map(Json)
}

/// `GET /documents/{id}`
pub async fn read(user: CurrentUser, db: Db, Path(id): Path<String>) -> Result<Json<Saved<Document>>> {
    mine(&user, &db, &id).await.map(Json)
}

/// `POST /documents/{id}/process`: answers the job. Whoever asks again while it is not done gets the same one.
pub async fn process(user: CurrentUser, db: Db, jobs: Jobs, Path(id): Path<String>) -> Result<Json<Enqueued>> {
    let document = mine(&user, &db, &id).await?;
    let unique = format!("process-{}", document.id);
    let job = jobs.enqueue(process_document, ProcessDocument { document_id: document.id });
    job.unique_key(unique).concurrency_key(&user.id).await.map(Json)
}

async fn mine(user: &CurrentUser, db: &Db, id: &str) -> Result<Saved<Document>> {
    db.find("[id] = ? AND [owner_id] = ?", [id, user.id.as_str()]).first().await?.or_not_found("document")
}
