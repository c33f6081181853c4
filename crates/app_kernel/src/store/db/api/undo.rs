//! Undo: a version of the past becomes the next version.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::shape::declared_table;
use super::values::{check_id, from_object};
use crate::base::error::{Error, Result};
use crate::store::db::entity::Entity;
use crate::store::db::history::{Operation, read_version};
use crate::store::db::ops::read::Select;
use crate::store::db::ops::write::Revive;
use crate::store::db::row::Row;
use crate::store::db::table::Table;
use crate::store::db::value::Value;
use crate::store::db::{Db, dynamic};

impl Db {
    /// Makes a new version of an entity whose content is that of an old one; brings a softly deleted one back to life. Secrets, which the
    /// history does not keep, and columns that the version does not have, stay as they are. Answers the new version's number.
    ///
    /// ```no_run
    /// # use app_kernel::prelude::*;
    /// # async fn example<T: Entity>(db: Db) -> Result<()> {
    /// let version = db.restore_version::<T>("the-id", 3).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Where there is no such version, the entity was deleted for good, or the old content is refused today: a unique value that another has now.
    pub async fn restore_version<T: Entity>(&self, id: impl Into<String>, version: i64) -> Result<i64> {
        let row = self.revive(declared_table::<T>(self)?, id.into(), version).await?;
        Ok(row.last().and_then(Value::as_int).unwrap_or_default())
    }

    /// The same without a struct; answers the row as it is then.
    ///
    /// # Errors
    /// As for [`Db::restore_version`].
    pub async fn restore_entity_version(&self, name: &str, id: impl Into<String>, version: i64) -> Result<Row> {
        let table = dynamic::find_table(self, name).await?;
        let table = table.ok_or_else(|| Error::not_found(format!("there is no `{name}`")))?;
        let values = self.revive(Arc::clone(&table), id.into(), version).await?;
        Ok(Row::new(Arc::clone(&table.columns), values))
    }

    async fn revive(&self, table: Arc<Table>, id: String, version: i64) -> Result<Vec<Value>> {
        let id = check_id(&id)?;
        let missing = || Error::not_found(format!("`{}` has no version {version} of this id", table.def.table));
        let scope = self.scope(&table)?;
        if !table.def.history {
            return Err(missing());
        }
        let params = vec![Value::from(&id), Value::Int(version)];
        let select = Select { sql: Arc::clone(&table.sql.get_version), params, read: read_version };
        let old = self.read(select).await?.into_iter().next();
        let old = old.filter(|version| scope.as_ref().is_none_or(|scope| scope.held(version))).ok_or_else(missing)?;
        let Json::Object(data) = old.data else { return Err(missing()) };
        let given = from_object(&table, content(&table, data))?;
        self.write(Revive { table, id, given, scope, stamp: self.stamp(Operation::Updated) }).await
    }
}

/// What of an old row can come back: columns that there still are, and no secrets.
fn content(table: &Table, data: Map<String, Json>) -> Map<String, Json> {
    let is_kept = |name: &str| table.def.column(name).is_some_and(|column| !column.secret);
    data.into_iter().filter(|(name, _)| is_kept(name)).collect()
}
