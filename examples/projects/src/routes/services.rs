//! The services of a project.

use app_kernel::prelude::*;

use super::projects;
use crate::models::Service;

/// `POST /projects/{id}/services`
pub async fn create(
    db: WorkspaceDb,
    Path(project_id): Path<String>,
    Valid(Json(new)): Valid<Json<Service>>,
) -> Result<Created<Saved<Service>>> {
    let project = projects::find(&db, &project_id).await?;
    db.save(Service { project_id: project.id, ..new }).await.map(Created::new)
}

/// `GET /projects/{id}/services`
pub async fn list(db: WorkspaceDb, Path(project_id): Path<String>) -> Result<Json<Vec<Saved<Service>>>> {
    let project = projects::find(&db, &project_id).await?;
    db.find("[project_id] = ?", [project.id]).order_by("[name] ASC").await.map(Json)
}

/// `GET /services/{id}`
pub async fn read(db: WorkspaceDb, Path(id): Path<String>) -> Result<Json<Saved<Service>>> {
    find(&db, &id).await.map(Json)
}

/// `PUT /services/{id}`
pub async fn update(
    db: WorkspaceDb,
    Path(id): Path<String>,
    Valid(Json(new)): Valid<Json<Service>>,
) -> Result<Json<Saved<Service>>> {
    let mut service = find(&db, &id).await?;
    let project_id = service.project_id.clone();
    service.entity = Service { project_id, ..new };
    db.save(service).await.map(Json)
}

/// `DELETE /services/{id}`
pub async fn remove(db: WorkspaceDb, Path(id): Path<String>) -> Result<NoContent> {
    let service = find(&db, &id).await?;
    db.delete::<Service>(service.id).await?;
    Ok(NoContent)
}

/// The service of this id in the workspace of the handle.
pub(super) async fn find(db: &Db, id: &str) -> Result<Saved<Service>> {
    db.get(id).await?.or_not_found("service")
}
