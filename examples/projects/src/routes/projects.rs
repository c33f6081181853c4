//! Projects: every member of the workspace makes and changes them, its admins delete them.

use app_kernel::prelude::*;

use crate::models::{Project, ProjectStatus, Service};

/// What a list is narrowed by, and where it goes on.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Only projects of this status.
    status: Option<ProjectStatus>,
    /// The page behind the one whose `next` this is.
    after: Option<String>,
}

/// `POST /projects`
pub async fn create(db: WorkspaceDb, Json(new): Json<Project>) -> Result<Created<Saved<Project>>> {
    db.save(new).await.map(Created::new)
}

/// `GET /projects`
pub async fn list(db: WorkspaceDb, Query(wanted): Query<Wanted>) -> Result<Json<Page<Saved<Project>>>> {
    let mut found = match wanted.status {
        Some(status) => db.find("[status] = ?", [status]),
        None => db.find("", ()),
    };
    found = found.order_by("[name] ASC").limit(50);
    if let Some(cursor) = wanted.after {
        found = found.after(cursor);
    }
    found.page().await.map(Json)
}

/// `GET /projects/{id}`
pub async fn read(db: WorkspaceDb, Path(id): Path<String>) -> Result<Json<Saved<Project>>> {
    find(&db, &id).await.map(Json)
}

/// `PUT /projects/{id}`
pub async fn update(db: WorkspaceDb, Path(id): Path<String>, Json(new): Json<Project>) -> Result<Json<Saved<Project>>> {
    let mut project = find(&db, &id).await?;
    project.entity = new;
    db.save(project).await.map(Json)
}

/// `DELETE /projects/{id}`: with its services.
pub async fn remove(WorkspaceAdmin(admin): WorkspaceAdmin, Path(id): Path<String>) -> Result<NoContent> {
    let db = admin.db();
    find(&db, &id).await?;
    db.transaction(async |tx| {
        let services = tx.find::<Service>("[project_id] = ?", [&id]).limit(10_000).await?;
        tx.delete_many::<Service>(services.into_iter().map(|service| service.id)).await?;
        tx.delete::<Project>(&id).await
    })
    .await?;
    Ok(NoContent)
}

/// The project of this id in the workspace of the handle.
pub(super) async fn find(db: &Db, id: &str) -> Result<Saved<Project>> {
    db.get(id).await?.or_not_found("project")
}
