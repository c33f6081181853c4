//! Queries: where clauses, order, pages.

use std::collections::HashMap;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::params::Params;
use super::shape::{Shape, Typed, Untyped};
use crate::base::error::{Error, Result};
use crate::store::db::cursor::{Cursor, keyset};
use crate::store::db::dialect::{Dialect, ddl::quoted};
use crate::store::db::entity::{DELETED_AT, Entity};
use crate::store::db::filter::{self, Bound, Condition, Order};
use crate::store::db::ops::read::Select;
use crate::store::db::table::Table;
use crate::store::db::value::Value;
use crate::store::db::workspace::{Scope, WORKSPACE_ID};
use crate::store::db::{Db, driver::RowRef};

/// How many rows a query answers where no limit is said.
const DEFAULT_LIMIT: u32 = 100;
/// How many rows a query answers at most.
const LARGEST_LIMIT: u32 = 10_000;
/// Queries that are remembered as SQL. Beyond, all are forgotten: an app has few, unless it builds them from data.
const REMEMBERED: usize = 1024;

impl Db {
    /// The living entities that a condition holds for: `db.find::<Widget>("[owner_id] = ? AND [size] > 3", [user.id])`.
    /// An empty clause is all of them. At most 100, unless [`Find::limit`] says otherwise.
    pub fn find<T: Entity>(&self, where_clause: impl Into<String>, params: impl Params) -> Find<Typed<T>> {
        Find::new(self, Typed::new(), where_clause, params)
    }

    /// The living rows of an entity. All of them, until [`Find::where_clause`] says a condition; at most 100, unless [`Find::limit`] says otherwise.
    pub fn find_entities(&self, name: impl Into<String>) -> Find<Untyped> {
        Find::new(self, Untyped(name.into()), "", ())
    }

    /// How many living entities a condition holds for.
    pub fn count<T: Entity>(&self, where_clause: impl Into<String>, params: impl Params) -> Count<Typed<T>> {
        Count(Find::new(self, Typed::new(), where_clause, params))
    }

    /// How many living rows an entity has; [`Count::where_clause`] says a condition.
    pub fn count_entities(&self, name: impl Into<String>) -> Count<Untyped> {
        Count(Find::new(self, Untyped(name.into()), "", ()))
    }
}

/// A query; see [`Db::find`].
#[derive(Debug, Clone)]
#[must_use = "nothing is read until it is awaited"]
pub struct Find<S> {
    db: Db,
    shape: S,
    clause: String,
    params: Vec<Value>,
    order_by: String,
    limit: u32,
    offset: u32,
    include_deleted: bool,
    after: Option<String>,
}

/// One page of a query, and the way to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// The rows of this page.
    pub items: Vec<T>,
    /// What to give to `after` for the next page; absent on the last.
    pub next: Option<String>,
}

impl<S: Shape> Find<S> {
    fn new(db: &Db, shape: S, clause: impl Into<String>, params: impl Params) -> Self {
        Find {
            db: db.clone(),
            shape,
            clause: clause.into(),
            params: params.into_values(),
            order_by: String::new(),
            limit: DEFAULT_LIMIT,
            offset: 0,
            include_deleted: false,
            after: None,
        }
    }

    /// The condition and its parameters.
    pub fn where_clause(mut self, clause: impl Into<String>, params: impl Params) -> Self {
        self.clause = clause.into();
        self.params = params.into_values();
        self
    }

    /// The order: `[created_at] DESC, [name] ASC NULLS LAST`. By id where not said; the id always breaks ties. Nulls are the smallest.
    pub fn order_by(mut self, order: impl Into<String>) -> Self {
        self.order_by = order.into();
        self
    }

    /// At most so many rows: 100 where not said, 10,000 at most.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// Without the first so many rows. A page by [`Find::after`] is cheaper and does not shift.
    pub fn offset(mut self, offset: u32) -> Self {
        self.offset = offset;
        self
    }

    /// Finds softly deleted rows too.
    pub fn include_deleted(mut self) -> Self {
        self.include_deleted = true;
        self
    }

    /// Only rows behind the page that gave this cursor, in the same order. Rows that come and go meanwhile shift nothing.
    pub fn after(mut self, cursor: impl Into<String>) -> Self {
        self.after = Some(cursor.into());
        self
    }

    /// The first row alone.
    ///
    /// # Errors
    /// As the query.
    pub async fn first(self) -> Result<Option<S::Item>> {
        Ok(self.limit(1).await?.into_iter().next())
    }

    /// The rows as a page with the cursor for the next one.
    ///
    /// # Errors
    /// As the query.
    pub async fn page(self) -> Result<Page<S::Item>> {
        let (db, wanted) = (self.db.clone(), self.limit);
        let Some(query) = self.prepare(1).await? else { return Ok(Page { items: Vec::new(), next: None }) };
        let (table, order) = (Arc::clone(&query.table), Arc::clone(&query.plan));
        let position = |name: &str| table.columns.iter().position(|column| column == name);
        let positions: Vec<usize> = order.order.terms().iter().filter_map(|term| position(&term.column)).collect();
        let read = move |row: &RowRef<'_>| {
            let keys = positions.iter().map(|i| row.value(*i, query.table.types[*i])).collect::<Result<Vec<_>, _>>()?;
            Ok((S::read(&query.table, row)?, keys))
        };
        let mut rows = db.read(Select { sql: query.sql, params: query.params, read }).await?;
        let has_more = rows.len() > wanted as usize;
        rows.truncate(wanted as usize);
        let last = rows.last().filter(|_| has_more);
        let next = last.map(|(_, keys)| Cursor::encode(&order.order, keys)).transpose()?;
        Ok(Page { items: rows.into_iter().map(|(item, _)| item).collect(), next })
    }

    /// The query as SQL; none where the table is not there, so that nothing can be found.
    async fn prepare(self, beyond: u32) -> Result<Option<Prepared>> {
        if self.limit > LARGEST_LIMIT {
            return Err(Error::invalid(format!("limit is {}; it must be at most {LARGEST_LIMIT}", self.limit))
                .code("bad_limit"));
        }
        let Some(table) = self.shape.table(&self.db).await? else { return Ok(None) };
        let (dialect, scope) = (self.db.shared.driver.dialect(), self.db.scope(&table)?);
        let bound = scope.as_ref().map(|_| Bound { column: WORKSPACE_ID });
        let wanted =
            Wanted { clause: &self.clause, bound, order_by: &self.order_by, include_deleted: self.include_deleted };
        let plan = self.db.shared.finds.plan(&table, dialect, &wanted)?;
        let mut params = plan.condition.bind(self.params, scope.as_ref().map(Scope::id))?;
        let tail = [i64::from(self.limit) + i64::from(beyond), i64::from(self.offset)].map(Value::Int);
        let sql = match &self.after {
            None => Arc::clone(&plan.sql),
            Some(cursor) => {
                let values = Cursor::decode(cursor, &plan.order)?;
                let (condition, keys) = keyset(&plan.order, &values, dialect, params.len() + 1);
                params.extend(keys);
                plan.text(&table, dialect, Some(&condition), params.len()).into()
            }
        };
        params.extend(tail);
        Ok(Some(Prepared { table, plan, sql, params }))
    }
}

impl<S: Shape> IntoFuture for Find<S> {
    type Output = Result<Vec<S::Item>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let db = self.db.clone();
            let Some(query) = self.prepare(0).await? else { return Ok(Vec::new()) };
            let table = query.table;
            let read = move |row: &RowRef<'_>| S::read(&table, row);
            db.read(Select { sql: query.sql, params: query.params, read }).await
        })
    }
}

/// A count; see [`Db::count`].
#[derive(Debug, Clone)]
#[must_use = "nothing is counted until it is awaited"]
pub struct Count<S>(Find<S>);

impl<S: Shape> Count<S> {
    /// The condition and its parameters.
    pub fn where_clause(self, clause: impl Into<String>, params: impl Params) -> Self {
        Count(self.0.where_clause(clause, params))
    }

    /// Counts softly deleted rows too.
    pub fn include_deleted(self) -> Self {
        Count(self.0.include_deleted())
    }
}

impl<S: Shape> IntoFuture for Count<S> {
    type Output = Result<i64>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Find { db, shape, clause, params, include_deleted, .. } = self.0;
            let Some(table) = shape.table(&db).await? else { return Ok(0) };
            let (dialect, scope) = (db.shared.driver.dialect(), db.scope(&table)?);
            let bound = scope.as_ref().map(|_| Bound { column: WORKSPACE_ID });
            let wanted = Wanted { clause: &clause, bound, order_by: "", include_deleted };
            let plan = db.shared.finds.plan(&table, dialect, &wanted)?;
            let sql =
                format!("SELECT COUNT(*) FROM {}{}", quoted(&table.def.table, dialect), plan.filter(dialect, None));
            let params = plan.condition.bind(params, scope.as_ref().map(Scope::id))?;
            let counts = db.read(Select { sql: sql.into(), params, read: |row: &RowRef<'_>| row.int(0) }).await?;
            Ok(counts.first().copied().unwrap_or(0))
        })
    }
}

/// A query that is ready to be sent.
struct Prepared {
    table: Arc<Table>,
    plan: Arc<FindPlan>,
    sql: Arc<str>,
    params: Vec<Value>,
}

/// A clause and an order, parsed and printed for one table.
#[derive(Debug)]
pub(crate) struct FindPlan {
    condition: Condition,
    order: Order,
    include_deleted: bool,
    /// The whole statement without a cursor: the condition's parameters, then limit and offset.
    sql: Arc<str>,
}

impl FindPlan {
    /// The WHERE part.
    fn filter(&self, dialect: &dyn Dialect, keyset: Option<&str>) -> String {
        let living = (!self.include_deleted).then(|| format!("{} IS NULL", quoted(DELETED_AT, dialect)));
        let parts = [Some(self.condition.sql.as_str()), living.as_deref(), keyset];
        format!(" WHERE {}", parts.into_iter().flatten().collect::<Vec<_>>().join(" AND "))
    }

    fn text(&self, table: &Table, dialect: &dyn Dialect, keyset: Option<&str>, params: usize) -> String {
        let mut sql = format!("{}{} ORDER BY ", table.sql.select, self.filter(dialect, keyset));
        self.order.print(dialect, &mut sql);
        sql.push_str(" LIMIT ");
        dialect.placeholder(params + 1, &mut sql);
        sql.push_str(" OFFSET ");
        dialect.placeholder(params + 2, &mut sql);
        sql
    }
}

/// What a plan is made from.
struct Wanted<'a> {
    clause: &'a str,
    bound: Option<Bound>,
    order_by: &'a str,
    include_deleted: bool,
}

/// The queries of an app, parsed once.
#[derive(Debug, Default)]
pub(crate) struct FindCache(Mutex<HashMap<String, Arc<FindPlan>>>);

impl FindCache {
    fn plan(&self, table: &Table, dialect: &dyn Dialect, wanted: &Wanted<'_>) -> Result<Arc<FindPlan>> {
        let Wanted { clause, bound, order_by, include_deleted } = *wanted;
        // A dynamic table that grew a column is another one.
        let columns = table.columns.len();
        let is_bound = bound.is_some();
        let key = format!("{}\0{columns}\0{clause}\0{order_by}\0{include_deleted}\0{is_bound}", table.def.table);
        if let Some(plan) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(plan));
        }
        let condition = filter::render_bound(clause, bound, &table.def, dialect, 1)?;
        let order = filter::parse_order(order_by, &table.def)?;
        let mut plan = FindPlan { condition, order, include_deleted, sql: "".into() };
        plan.sql = plan.text(table, dialect, None, plan.condition.places()).into();
        let plan = Arc::new(plan);
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= REMEMBERED {
            plans.clear();
        }
        plans.insert(key, Arc::clone(&plan));
        Ok(plan)
    }
}
