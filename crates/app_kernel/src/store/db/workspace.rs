//! A handle that stays within one workspace. What it reads, changes and makes are that workspace's rows, whatever the condition or the id says;
//! rows of others are as if they were not there. A row belongs to the workspace that its column [`WORKSPACE_ID`] names.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::Db;
use super::driver::RowRef;
use super::entity::{Entity, ID};
use super::history::Version;
use super::row::DecodeError;
use super::schema::KERNEL_PREFIX;
use super::table::Table;
use super::value::{ColumnType, Value};
use crate::base::error::{Error, Result};

/// The column in which a row says what workspace it belongs to.
pub const WORKSPACE_ID: &str = "workspace_id";

impl Db {
    /// The same database, bounded to one workspace: for entities that have a field `workspace_id: String`.
    ///
    /// - Reads, lists, counts, pages and histories see the workspace's rows only.
    /// - What is saved gets the workspace; a row of another can be neither changed, moved, restored nor deleted: it is not found.
    /// - [`match_by`](super::Save::match_by) looks among the workspace's rows, by a unique index that `workspace_id` is part of. A field that is
    ///   `unique` alone is so over all workspaces, and a clash says that somebody has the value: write `unique(workspace_id, name)`.
    /// - A foreign key is not followed: what a row refers to may be another's, unless it was read by this handle.
    /// - A transaction of this handle is bounded as well. Raw SQL is refused, and so are entities without the field and the kernel's own.
    ///
    /// Whether somebody belongs to the workspace is not asked here: handlers take `WorkspaceMember` or `WorkspaceDb`, which ask.
    ///
    /// ```no_run
    /// # use app_kernel::prelude::*;
    /// # #[derive(Entity)] struct Project { name: String, workspace_id: String }
    /// # async fn example(db: Db, workspace_id: &str) -> Result<()> {
    /// let projects = db.in_workspace(workspace_id).find::<Project>("[name] LIKE ?", ["a%"]).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn in_workspace(&self, id: impl Into<String>) -> Db {
        let id: String = id.into();
        Db { caller: self.caller.clone().in_workspace(&id), workspace: Some(id.into()), ..self.clone() }
    }

    /// The same database without the bounds of a workspace: for raw SQL, and for what stands above workspaces. Every use of this is a place to
    /// look at twice.
    #[must_use]
    pub fn without_workspace(&self) -> Db {
        Db { workspace: None, ..self.clone() }
    }

    /// The workspace that this handle is bounded to.
    #[must_use]
    pub fn workspace_id(&self) -> Option<&str> {
        self.workspace.as_deref()
    }

    /// The bounds of this handle in a table; none where it has none.
    pub(super) fn scope(&self, table: &Table) -> Result<Option<Scope>> {
        let Some(id) = &self.workspace else { return Ok(None) };
        let name = &table.def.table;
        let refused = |why: String| Err(Error::invalid(why).code("not_in_workspaces"));
        if name.starts_with(KERNEL_PREFIX) {
            return refused(format!(
                "`{name}` is the kernel's own and not bounded by workspaces; use db.without_workspace()"
            ));
        }
        if id.is_empty() {
            return refused("a workspace has an id; this one is empty".to_owned());
        }
        let fits = |column: &super::entity::ColumnDef| column.name == WORKSPACE_ID && column.ty == ColumnType::Text;
        match table.def.columns.iter().position(|column| fits(column) && !column.secret) {
            Some(position) => Ok(Some(Scope { position, id: Arc::clone(id) })),
            None => refused(format!(
                "`{name}` does not belong to workspaces; give it a field `workspace_id: String`, or use db.without_workspace()"
            )),
        }
    }

    /// Refuses what can't be kept within a workspace.
    pub(super) fn refuse_in_workspace(&self, what: &str) -> Result<()> {
        match self.workspace {
            None => Ok(()),
            Some(_) => Err(Error::internal(format!(
                "{what} can't be kept within a workspace; use db.without_workspace(), and name the workspace there"
            ))),
        }
    }

    /// Puts a row without a struct into the workspace, if there is one.
    pub(super) fn admit_row(&self, row: &mut Map<String, Json>) -> Result<()> {
        let Some(id) = &self.workspace else { return Ok(()) };
        match row.get(WORKSPACE_ID) {
            None | Some(Json::Null) => {}
            Some(Json::String(said)) if said.is_empty() || **said == **id => {}
            Some(_) => return Err(elsewhere()),
        }
        row.insert(WORKSPACE_ID.to_owned(), Json::from(&**id));
        Ok(())
    }
}

/// A workspace's part of a table.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// Of the column, among the table's own.
    position: usize,
    id: Arc<str>,
}

impl Scope {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Where the column stands in a row: behind the id.
    fn index(&self) -> usize {
        1 + self.position
    }

    /// Whether a row, in the table's order, is the workspace's.
    pub(crate) fn holds(&self, row: &[Value]) -> bool {
        row[self.index()].as_str() == Some(&self.id)
    }

    /// The same of a row as it comes from the database.
    pub(super) fn holds_read(&self, row: &RowRef<'_>) -> Result<bool, DecodeError> {
        Ok(!row.is_null(self.index())? && row.text(self.index())? == &*self.id)
    }

    /// Whether a row was the workspace's in this version.
    pub(super) fn held(&self, version: &Version) -> bool {
        version.data[WORKSPACE_ID] == *self.id
    }

    /// The same of a row as the history kept it.
    pub(super) fn held_kept(&self, row: &Map<String, Json>) -> bool {
        row.get(WORKSPACE_ID).is_some_and(|id| *id == *self.id)
    }

    /// Puts an entity and the values of its own columns into the workspace.
    pub(super) fn admit<T: Entity>(&self, entity: &mut T, values: &mut [Value]) -> Result<()> {
        let said = &mut values[self.position];
        if said.is_null() || said.as_str() == Some("") {
            entity.enter_workspace(&self.id);
            *said = Value::from(&*self.id);
        }
        if said.as_str() == Some(&self.id) { Ok(()) } else { Err(elsewhere()) }
    }
}

/// One answer, whether there is such a workspace or not.
fn elsewhere() -> Error {
    Error::invalid("the entity can't be saved")
        .field(format!("/{WORKSPACE_ID}"), "must be the workspace that the request is about, or be left out")
}

/// One answer for a row that is not there and for one that is another workspace's.
pub(super) fn no_such_row() -> Error {
    Error::not_found(format!("there is nothing of that {ID}"))
}
