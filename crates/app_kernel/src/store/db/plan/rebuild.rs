//! SQLite changes little of a table that is there. For the rest the table is made anew under another name, filled, and takes the place
//! of the old one: <https://sqlite.org/lang_altertable.html#otheralter>. Foreign keys are off meanwhile, or dropping the old table
//! would take along what refers to it.

use super::Planner;
use super::difference::{Difference, Pair};
use super::finding::{Finding, Severity};
use crate::store::db::dialect::ddl::{self, quoted};
use crate::store::db::inspect::FoundColumn;
use crate::store::db::table_text::Kind;
use crate::store::db::value::Value;

/// The name of the new table until it takes its place.
pub(crate) const SCRATCH: &str = "kernel_rebuild";

/// Whether ALTER TABLE can't do it.
pub(super) fn is_needed(difference: &Difference<'_>) -> bool {
    let is_beyond = |pair: &Pair<'_>| match pair.there {
        Some(_) => pair.is_altered(),
        None => !can_be_added(pair),
    };
    difference.columns.iter().any(is_beyond)
        || difference.relaxed().next().is_some()
        || !difference.dropped.is_empty()
        || !(difference.checks.added.is_empty() && difference.checks.dropped.is_empty())
        || !(difference.foreign_keys.added.is_empty() && difference.foreign_keys.dropped.is_empty())
}

/// ADD COLUMN takes no required column without a default, and no default that is worked out.
fn can_be_added(pair: &Pair<'_>) -> bool {
    match &pair.column.default {
        None | Some(Value::Null) => pair.column.nullable,
        Some(Value::Int(i64::MIN)) => false,
        Some(_) => true,
    }
}

impl Planner<'_> {
    /// Once the table has its new name.
    pub(super) fn rebuild(&mut self, difference: &Difference<'_>) {
        let dialect = self.situation.dialect;
        let table = difference.table;
        self.refuse_what_would_be_lost(difference);
        self.warn_if_large(difference, "the table is made anew, and writers wait until it is done");
        let (name, scratch) = (quoted(&table.name, dialect), quoted(SCRATCH, dialect));
        let extra = self.extra_definitions(difference);
        let mut statements = vec![ddl::create_table_as(SCRATCH, table, &extra, dialect)];
        if table.columns.iter().any(|column| column.identity) {
            // What was counted goes on, also where the last rows are gone.
            statements.push(format!(
                "INSERT INTO sqlite_sequence (name, seq) SELECT '{SCRATCH}', seq FROM sqlite_sequence WHERE name = '{}'",
                table.name
            ));
        }
        let (into, values): (Vec<String>, Vec<String>) = difference
            .columns
            .iter()
            .map(|pair| (quoted(&pair.column.name, dialect), pair.value(dialect)))
            .chain(difference.kept.iter().filter(|column| !column.generated).map(|column| {
                let name = quoted(&column.name, dialect);
                (name.clone(), name)
            }))
            .unzip();
        statements.push(format!(
            "INSERT INTO {scratch} ({}) SELECT {} FROM {name}",
            into.join(", "),
            values.join(", ")
        ));
        statements.push(ddl::drop_table(&table.name, dialect));
        // Or the new name would be sought in every view and trigger, and what speaks of the old table would not be found.
        statements.push("PRAGMA legacy_alter_table = ON".to_owned());
        statements.push(ddl::rename_table(SCRATCH, table, dialect));
        statements.push("PRAGMA legacy_alter_table = OFF".to_owned());
        statements.extend(table.indexes.iter().map(|index| ddl::create_index(table, index, dialect)));
        statements.extend(self.own_objects(difference));
        for statement in statements {
            self.change(statement);
        }
        self.rebuilt.push(table.name.clone());
    }

    /// What stays and is in no declaration.
    fn extra_definitions(&self, difference: &Difference<'_>) -> Vec<String> {
        let dialect = self.situation.dialect;
        let definitions = &difference.there.definitions;
        let is_relaxed = |column: &FoundColumn| difference.relaxed().any(|relaxed| relaxed.name == column.name);
        let column = |column: &&FoundColumn| {
            let own = definitions.iter().find(|own| own.kind == Kind::Column && own.name == column.name);
            match own.filter(|_| !is_relaxed(column)) {
                Some(own) => own.text.clone(),
                None => ddl::loose_definition(column, dialect),
            }
        };
        let is_theirs = |name: &str| {
            let is_ours = |mine: bool, dropped: &[String]| mine || dropped.iter().any(|dropped| dropped == name);
            let (table, gone) = (difference.table, &difference.checks.dropped);
            !is_ours(table.checks.iter().any(|check| check.name == name), gone)
                && !is_ours(table.foreign_keys.iter().any(|key| key.name == name), &difference.foreign_keys.dropped)
        };
        let constraints = definitions.iter().filter(|own| match own.kind {
            Kind::Column | Kind::PrimaryKey => false,
            Kind::Check | Kind::ForeignKey { .. } | Kind::Other => is_theirs(&own.name),
        });
        difference.kept.iter().map(column).chain(constraints.map(|own| own.text.clone())).collect()
    }

    /// The statements of indexes and triggers that somebody else made.
    fn own_objects(&self, difference: &Difference<'_>) -> Vec<String> {
        let is_theirs = |name: &String| {
            !difference.indexes.dropped.contains(name)
                && !difference.table.indexes.iter().any(|index| index.name == *name)
        };
        let indexes = difference.there.indexes.iter().filter(|(name, _)| is_theirs(name));
        let indexes = indexes.filter_map(|(_, index)| index.sql.clone());
        indexes.chain(difference.there.triggers.iter().cloned()).collect()
    }

    fn refuse_what_would_be_lost(&mut self, difference: &Difference<'_>) {
        let table = &difference.table.name;
        let objects = self.own_objects(difference);
        let mut refuse = |what: String, cure: &str| {
            let (table, cure) = (table.clone(), Some(cure.to_owned()));
            self.findings.push(Finding { severity: Severity::Refused, table, column: None, what, cure });
        };
        if difference.renames() && !objects.is_empty() {
            refuse(
                format!(
                    "`{table}` has {} triggers or indexes that are not in the code, and has to be made anew under other names",
                    objects.len()
                ),
                "drop them first, or rename in one release and change the rest in the next",
            );
        }
        for (name, index) in &difference.there.indexes {
            let is_theirs = index.sql.as_ref().is_some_and(|sql| objects.contains(sql));
            let dropped = difference.dropped.iter().find(|column| index.columns.contains(&column.name));
            if let Some(column) = dropped.filter(|_| is_theirs) {
                refuse(
                    format!("the index `{name}`, which is not in the code, holds `{table}.{}`", column.name),
                    "drop that index first",
                );
            }
        }
    }
}
