//! What a schema consists of, seen from so far away that two databases of one kind can be compared: tables, columns with their types, indexes
//! and foreign keys, by name. And a fingerprint of each table, which tells whether two are the same in every detail.

use std::collections::BTreeMap;

use super::document::TableStates;
use crate::base::secret::token_hash;
use crate::store::db::dialect::Dialect;
use crate::store::db::inspect::{Found, FoundIndex, FoundKey, FoundTable};
use crate::store::db::schema::TableDef;

/// Things by name, such as `column widgets.size`, and what they are: the type of a column, nothing for others.
pub(crate) type Objects = BTreeMap<String, String>;

/// How many hex digits of a hash tell two schemas apart.
const HASH_DIGITS: usize = 16;

/// All that is found.
pub(crate) fn objects_of(found: &Found, dialect: &dyn Dialect) -> Objects {
    let mut objects = Objects::new();
    for (name, table) in &found.tables {
        objects.insert(table_key(name), String::new());
        for column in &table.columns {
            objects.insert(column_key(name, &column.name), type_name(&column.sql_type, dialect));
        }
        let constraints = table.indexes.keys().map(|index| index_key(name, index));
        let constraints = constraints.chain(table.foreign_keys.keys().map(|key| foreign_key_key(name, key)));
        let constraints = constraints.chain(table.checks.iter().map(|check| check_key(name, check)));
        objects.extend(constraints.map(|object| (object, String::new())));
    }
    objects
}

/// The fingerprint of each of these tables that is there.
pub(crate) fn states_of(found: &Found, is_meant: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let there = found.tables.iter().filter(|(name, _)| is_meant(name));
    there.map(|(name, table)| (name.clone(), state_of(table))).collect()
}

/// The same for the same tables, whatever the order of their columns.
fn state_of(table: &FoundTable) -> String {
    let columns = table
        .columns
        .iter()
        .map(|column| format!("column {} {} {} {:?}", column.name, column.sql_type, column.nullable, column.default));
    let index = |(name, index): (&String, &FoundIndex)| {
        format!("index {name} {} {} {}", index.columns.join(","), index.unique, index.partial)
    };
    let key = |(name, key): (&String, &FoundKey)| format!("foreign key {name} {} {}", key.column, key.target);
    let mut lines: Vec<String> = columns
        .chain(table.indexes.iter().map(index))
        .chain(table.foreign_keys.iter().map(key))
        .chain(table.checks.iter().map(|check| format!("check {check}")))
        .collect();
    lines.sort();
    hash(&lines.join("\n"))
}

/// The tables that are not as they were.
pub(crate) fn changed_tables(before: &Found, after: &Found) -> BTreeMap<String, TableStates> {
    let (before, after) = (states_of(before, |_| true), states_of(after, |_| true));
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let states =
        names.map(|name| (name, TableStates { before: before.get(name).cloned(), after: after.get(name).cloned() }));
    states.filter(|(_, states)| states.before != states.after).map(|(name, states)| (name.clone(), states)).collect()
}

/// One hash of the tables that the code wants, as they are.
pub(crate) fn schema_hash(found: &Found, wanted: &[TableDef]) -> String {
    let states = states_of(found, |name| wanted.iter().any(|table| table.name == name));
    hash(&states.iter().map(|(name, state)| format!("{name} {state}")).collect::<Vec<_>>().join("\n"))
}

fn hash(text: &str) -> String {
    token_hash(text)[..HASH_DIGITS].to_owned()
}

/// What a type of the database means, which is one word for all that mean the same.
fn type_name(sql_type: &str, dialect: &dyn Dialect) -> String {
    dialect.meaning_of(sql_type).map_or_else(|| sql_type.to_owned(), |ty| format!("{ty:?}").to_lowercase())
}

pub(super) fn table_key(table: &str) -> String {
    format!("table {table}")
}

pub(super) fn column_key(table: &str, column: &str) -> String {
    format!("column {table}.{column}")
}

pub(super) fn index_key(table: &str, index: &str) -> String {
    format!("index {table}.{index}")
}

pub(super) fn foreign_key_key(table: &str, key: &str) -> String {
    format!("foreign key {table}.{key}")
}

pub(super) fn check_key(table: &str, check: &str) -> String {
    format!("check {table}.{check}")
}

/// What lies in this table moves with its name.
pub(crate) fn rename_table(objects: &mut Objects, old: &str, new: &str) {
    let moved: Vec<(String, String, String)> = objects
        .iter()
        .filter_map(|(key, what)| {
            let (kind, path) = key
                .split_once(' ')
                .filter(|(kind, _)| *kind != "foreign")
                .or_else(|| key.strip_prefix("foreign key ").map(|path| ("foreign key", path)))?;
            let rest = path.strip_prefix(old).filter(|rest| rest.is_empty() || rest.starts_with('.'))?;
            Some((key.clone(), format!("{kind} {new}{rest}"), what.clone()))
        })
        .collect();
    for (old, new, what) in moved {
        objects.remove(&old);
        objects.insert(new, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_a_table_moves_with_its_name() {
        let keys =
            ["table jobs", "column jobs.pay", "foreign key jobs.fk.jobs.a", "table jobs_history", "index x.jobs"];
        let mut objects: Objects = keys.iter().map(|key| ((*key).to_owned(), String::new())).collect();
        rename_table(&mut objects, "jobs", "posts");
        let wanted =
            ["column posts.pay", "foreign key posts.fk.jobs.a", "index x.jobs", "table jobs_history", "table posts"];
        assert_eq!(objects.keys().collect::<Vec<_>>(), wanted);
    }
}
