//! The store, on every database: one function each, three runs.

mod batches;
mod concurrency;
mod entities;
mod evolution;
mod history;
mod pages;
mod queries;
mod schema;
mod transactions;
pub(crate) mod types;
mod undeclared;
mod untyped;

use app_kernel::store::db::entity::{Entity, EntityDef};
use app_kernel::store::db::{Db, DbOptions};
use app_kernel::testing::TestDatabase;

/// A thing with a little of everything that an entity can say.
#[derive(Debug, Clone, PartialEq, Entity)]
pub(crate) struct Widget {
    #[entity(unique)]
    pub(crate) name: String,
    #[entity(default = "blue")]
    pub(crate) color: String,
    #[entity(index)]
    pub(crate) owner_id: String,
    pub(crate) size: Option<i64>,
    #[entity(default = "active", check = "[status] IN ('active', 'archived')")]
    pub(crate) status: String,
}

pub(crate) fn widget(name: &str) -> Widget {
    Widget {
        name: name.to_owned(),
        color: "red".to_owned(),
        owner_id: "ann".to_owned(),
        size: Some(3),
        status: "active".to_owned(),
    }
}

/// Opens the database for these entities and makes their tables.
pub(crate) async fn open(database: &TestDatabase, entities: &[&EntityDef]) -> Db {
    open_with(database, entities, DbOptions::default()).await
}

pub(crate) async fn open_with(database: &TestDatabase, entities: &[&EntityDef], options: DbOptions) -> Db {
    let db = Db::open(database.url(), entities, options).await.expect("the database opens");
    db.migrate().await.expect("the schema is made");
    db
}

/// A database with widgets.
pub(crate) async fn widgets(database: &TestDatabase) -> Db {
    open(database, &[Widget::definition()]).await
}
