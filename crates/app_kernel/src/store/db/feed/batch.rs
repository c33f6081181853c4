//! A piece of the log with the rows that its entries speak of. Rows are read when somebody first wants those of an entity, then once for all
//! who share the batch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value as Json};
use tokio::sync::OnceCell;

use super::log::Logged;
use crate::base::error::Result;
use crate::store::db::Db;
use crate::store::db::changes::{Versions, row_of};
use crate::store::db::table::Table;

/// Versions of rows of one entity, by id and version, without secrets.
type Rows = HashMap<(String, i64), Map<String, Json>>;

/// Entries that follow each other.
#[derive(Debug)]
pub(super) struct Batch {
    /// The position before the first entry. A batch without entries says that whoever has not come so far has missed some.
    pub(super) after: i64,
    pub(super) entries: Vec<Logged>,
    /// By the entity's name.
    rows: Mutex<HashMap<String, Arc<OnceCell<Arc<Rows>>>>>,
}

impl Batch {
    pub(super) fn new(after: i64, entries: Vec<Logged>) -> Self {
        Batch { after, entries, rows: Mutex::default() }
    }

    /// The versions that the entries of this entity speak of, as far as the history has them.
    pub(super) async fn rows(&self, db: &Db, table: &Arc<Table>) -> Result<Arc<Rows>> {
        let name = table.def.table.as_ref();
        let cell = {
            let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(rows.entry(name.to_owned()).or_default())
        };
        cell.get_or_try_init(|| self.read(db, table)).await.cloned()
    }

    async fn read(&self, db: &Db, table: &Arc<Table>) -> Result<Arc<Rows>> {
        let entries = self.entries.iter().filter(|entry| entry.entity == table.def.table);
        let wanted = entries.map(|entry| (entry.entity_id.clone(), entry.entity_version)).collect();
        let found = db.read(Versions { table: Arc::clone(table), wanted }).await?;
        let rows = found.into_iter().filter_map(|(key, data)| Some((key, row_of(table, &data)?)));
        Ok(Arc::new(rows.collect()))
    }
}
