//! What people may do with their books. Those of others are not there for them.

use app_kernel::prelude::*;

use crate::models::Book;

/// `POST /books`
pub async fn create(user: CurrentUser, db: Db, Json(new): Json<Book>) -> Result<Created<Saved<Book>>> {
    db.save(Book { owner_id: user.id.clone(), ..new }).await.map(Created::new)
}

/// `GET /books`
pub async fn list(user: CurrentUser, db: Db) -> Result<Json<Vec<Saved<Book>>>> {
    db.find("[owner_id] = ?", [&user.id]).order_by("[title] ASC").await.map(Json)
}

/// `GET /books/{id}`
pub async fn read(user: CurrentUser, db: Db, Path(id): Path<String>) -> Result<Json<Saved<Book>>> {
    mine(&user, &db, &id).await.map(Json)
}

/// `PUT /books/{id}`
pub async fn update(
    user: CurrentUser,
    db: Db,
    Path(id): Path<String>,
    Json(new): Json<Book>,
) -> Result<Json<Saved<Book>>> {
    let mut book = mine(&user, &db, &id).await?;
    book.entity = Book { owner_id: user.id.clone(), ..new };
    db.save(book).await.map(Json)
}

/// `DELETE /books/{id}`
pub async fn remove(user: CurrentUser, db: Db, Path(id): Path<String>) -> Result<NoContent> {
    let book = mine(&user, &db, &id).await?;
    db.delete::<Book>(&book.id).await?;
    Ok(NoContent)
}

/// `GET /books/{id}/history`
pub async fn history(user: CurrentUser, db: Db, Path(id): Path<String>) -> Result<Json<Vec<Version>>> {
    let book = mine(&user, &db, &id).await?;
    db.history::<Book>(book.id).await.map(Json)
}

async fn mine(user: &CurrentUser, db: &Db, id: &str) -> Result<Saved<Book>> {
    db.find("[id] = ? AND [owner_id] = ?", [id, user.id.as_str()]).first().await?.or_not_found("book")
}
