//! The statements that change a table where it lies.

use super::difference::{Difference, Pair};
use super::finding::{Finding, Severity};
use super::{Planner, Step};
use crate::store::db::dialect::ddl::{self, quoted};
use crate::store::db::dialect::{Backend, Dialect};
use crate::store::db::inspect::FoundIndex;
use crate::store::db::schema::{TableCheck, TableColumn, TableForeignKey, TableIndex};

impl Planner<'_> {
    /// What is in the way goes first: checks and indexes that speak of columns, then columns; what speaks of new columns comes last.
    pub(super) fn alter(&mut self, difference: &Difference<'_>) {
        let dialect = self.situation.dialect;
        let table = difference.table;
        let remade = Remade::of(difference, dialect);
        let key_drops = difference.foreign_keys.dropped.iter().map(String::as_str);
        let key_drops = key_drops.chain(remade.foreign_keys.iter().map(|key| key.name.as_str()));
        self.dropped_keys.extend(key_drops.map(|key| ddl::drop_foreign_key(difference.present, key, dialect)));

        let check_drops = difference.checks.dropped.iter().map(String::as_str);
        for check in check_drops.chain(remade.checks.iter().map(|check| check.name.as_str())) {
            self.change(ddl::drop_check(table, check, dialect));
        }
        let index_drops = difference.indexes.dropped.iter().map(String::as_str);
        for index in index_drops.chain(remade.indexes.iter().map(|index| index.name.as_str())) {
            self.change(ddl::drop_index(table, index, dialect));
        }
        for pair in &difference.columns {
            if let Some(old) = pair.old_name() {
                self.change(ddl::rename_column(table, old, pair.column, dialect));
            }
        }
        for column in &difference.dropped {
            self.change(ddl::drop_column(table, &column.name, dialect));
        }
        for pair in difference.columns.iter().filter(|pair| pair.there.is_none()) {
            self.change(ddl::add_column(table, pair.column, dialect));
        }
        if difference.lacks_live {
            self.change(ddl::add_live(table, dialect));
        }
        if difference.changes_types() {
            self.warn_if_large(difference, "its rows are written anew, and writers wait until it is done");
        }
        for pair in difference.columns.iter().filter(|pair| pair.there.is_some() && pair.is_swapped(dialect)) {
            self.findings.push(Finding {
                severity: Severity::Warning,
                table: table.name.clone(),
                column: Some(pair.column.name.to_string()),
                what: format!(
                    "`{}.{}` goes to its new type by way of a second column, and what others write to it meanwhile is lost",
                    table.name, pair.column.name
                ),
                cure: Some("stop older versions of the service first".to_owned()),
            });
        }
        for pair in difference.columns.iter().filter(|pair| pair.is_altered()) {
            let statements = match dialect.backend() {
                Backend::MySql => mysql_column(difference, pair, dialect),
                Backend::Sqlite | Backend::Postgres => postgres_column(difference, pair, dialect),
            };
            statements.into_iter().for_each(|statement| self.change(statement));
        }
        let relaxed: Vec<String> =
            difference.relaxed().map(|column| ddl::relax_column(table, column, dialect)).collect();
        relaxed.into_iter().for_each(|statement| self.change(statement));
        for check in difference.checks.added.iter().copied().chain(remade.checks) {
            self.change(ddl::add_check(table, check, dialect));
        }
        self.add_indexes(difference, &remade.indexes);
        let keys = difference.foreign_keys.added.iter().copied().chain(remade.foreign_keys);
        self.added_keys.extend(keys.map(|key| ddl::add_foreign_key(table, key, dialect)));
    }

    fn add_indexes(&mut self, difference: &Difference<'_>, remade: &[&TableIndex]) {
        let dialect = self.situation.dialect;
        let table = difference.table;
        let added: Vec<&TableIndex> = difference.indexes.added.iter().chain(remade).copied().collect();
        let is_large = difference.there.rows.is_some_and(|rows| rows >= self.situation.options.large_table_rows);
        for index in &added {
            self.changes.push(if is_large && dialect.backend() == Backend::Postgres {
                let sql = ddl::create_index_concurrently(table, index, dialect);
                Step { sql, later: Some(index.name.clone()) }
            } else {
                Step { sql: ddl::create_index(table, index, dialect), later: None }
            });
        }
        match dialect.backend() {
            _ if added.is_empty() => {}
            Backend::Postgres if is_large => {
                self.warn_if_large(difference, "its indexes are made after the rest, while others write");
            }
            _ => self.warn_if_large(difference, "its indexes are made, and writers wait until they are there"),
        }
    }
}

/// What stays the same, and must make way for a change of the columns that it speaks of.
struct Remade<'a> {
    checks: Vec<&'a TableCheck>,
    indexes: Vec<&'a TableIndex>,
    foreign_keys: Vec<&'a TableForeignKey>,
}

impl<'a> Remade<'a> {
    fn of(difference: &Difference<'a>, dialect: &dyn Dialect) -> Self {
        let table = difference.table;
        let there = difference.there;
        // The rule may read a value of the old type.
        let stays = |check: &&TableCheck| {
            there.checks.contains(&check.name) && !difference.checks.dropped.contains(&check.name)
        };
        let has_types = difference.changes_types();
        let checks = table.checks.iter().filter(|check| has_types && stays(check)).collect();
        if dialect.backend() != Backend::MySql {
            return Remade { checks, indexes: Vec::new(), foreign_keys: Vec::new() };
        }
        let swapped: Vec<&Pair<'_>> = difference.columns.iter().filter(|pair| pair.is_swapped(dialect)).collect();
        let holds_swapped = |found: &FoundIndex| {
            let held = |pair: &&Pair<'_>| pair.there.is_some_and(|there| found.columns.contains(&there.name));
            swapped.iter().any(held)
        };
        let indexes = table.indexes.iter().filter(|index| {
            !difference.indexes.dropped.contains(&index.name)
                && there.indexes.get(&index.name).is_some_and(holds_swapped)
        });
        // A foreign key needs an index, and keeps its column's type.
        let loses_index = |key: &TableForeignKey| {
            let leads = |name: &String| {
                there.indexes.get(name).is_some_and(|found| found.columns.first().is_some_and(|c| *c == key.column))
            };
            let changes =
                |pair: &Pair<'_>| pair.column.name == key.column && pair.there.is_some() && pair.is_stored_otherwise;
            difference.indexes.dropped.iter().any(leads) || difference.columns.iter().any(changes)
        };
        let foreign_keys = table.foreign_keys.iter().filter(|key| {
            there.foreign_keys.contains_key(&key.name)
                && !difference.foreign_keys.dropped.contains(&key.name)
                && loses_index(key)
        });
        Remade { checks, indexes: indexes.collect(), foreign_keys: foreign_keys.collect() }
    }
}

/// What is null gets the default.
fn fill(difference: &Difference<'_>, column: &TableColumn, dialect: &dyn Dialect) -> String {
    let (table, name) = (quoted(&difference.table.name, dialect), quoted(&column.name, dialect));
    let default = ddl::default_literal(column, dialect).unwrap_or_else(|| "NULL".to_owned());
    format!("UPDATE {table} SET {name} = {default} WHERE {name} IS NULL")
}

fn postgres_column(difference: &Difference<'_>, pair: &Pair<'_>, dialect: &dyn Dialect) -> Vec<String> {
    let column = pair.column;
    let x = quoted(&column.name, dialect);
    let default = ddl::default_literal(column, dialect);
    let sets_default = pair.default_differs || (pair.is_stored_otherwise && default.is_some());
    let mut changes = Vec::new();
    if pair.there.is_some_and(|there| there.default.is_some()) && (sets_default || pair.is_stored_otherwise) {
        changes.push("DROP DEFAULT".to_owned());
    }
    if pair.nullability_differs && column.nullable {
        changes.push("DROP NOT NULL".to_owned());
    }
    if pair.is_stored_otherwise {
        let ty = dialect.column_type(column.ty, column.indexed);
        let conversion = pair.conversion(&x, dialect);
        let value =
            if conversion.is_known { conversion.expression } else { format!("CAST(NULL AS {})", base_type(&ty)) };
        changes.push(format!("TYPE {ty} USING {value}"));
    }
    if let Some(default) = default.filter(|_| sets_default) {
        changes.push(format!("SET DEFAULT {default}"));
    }
    let is_tightened = pair.nullability_differs && !column.nullable;
    let not_null = "SET NOT NULL".to_owned();
    let mut statements = Vec::new();
    if is_tightened && !pair.fills_nulls() {
        changes.push(not_null.clone());
    }
    if !changes.is_empty() {
        statements.push(ddl::alter_column(difference.table, &column.name, &changes, dialect));
    }
    if pair.fills_nulls() {
        statements.push(fill(difference, column, dialect));
        statements.push(ddl::alter_column(difference.table, &column.name, &[not_null], dialect));
    }
    statements
}

fn base_type(ty: &str) -> &str {
    ty.split_once(" COLLATE").map_or(ty, |(base, _)| base)
}

fn mysql_column(difference: &Difference<'_>, pair: &Pair<'_>, dialect: &dyn Dialect) -> Vec<String> {
    let (table, column) = (difference.table, pair.column);
    if pair.is_swapped(dialect) {
        return swap_column(difference, pair, dialect);
    }
    let mut statements = Vec::new();
    if pair.fills_nulls() {
        if pair.is_stored_otherwise {
            let loose = TableColumn { nullable: true, ..column.clone() };
            statements.push(ddl::modify_column(table, &loose, dialect));
        }
        statements.push(fill(difference, column, dialect));
    }
    statements.push(ddl::modify_column(table, column, dialect));
    statements
}

/// Its own way between the two types gives other values than ours: they go by way of a second column, which takes the place of the first.
/// Each of the statements can be the last one for a while; what is left of a second column is dropped at the next start.
fn swap_column(difference: &Difference<'_>, pair: &Pair<'_>, dialect: &dyn Dialect) -> Vec<String> {
    let (table, column) = (difference.table, pair.column);
    let scratch = TableColumn { name: pair.scratch_name().into(), nullable: true, default: None, ..column.clone() };
    let [name, old, new] = [&table.name, &*column.name, &*scratch.name].map(|name| quoted(name, dialect));
    let mut value = pair.conversion(&old, dialect).expression;
    if let Some(default) = ddl::default_literal(column, dialect).filter(|_| pair.fills_nulls()) {
        value = format!("COALESCE({value}, {default})");
    }
    vec![
        ddl::add_column(table, &scratch, dialect),
        format!("UPDATE {name} SET {new} = {value}"),
        format!(
            "ALTER TABLE {name} DROP COLUMN {old}, CHANGE COLUMN {new} {}",
            ddl::column_definition(column, dialect)
        ),
    ]
}
