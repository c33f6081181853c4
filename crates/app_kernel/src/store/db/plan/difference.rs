//! What tells a table that is there from the one that is wanted.

use super::convert::conversion;
use super::finding::{Finding, Severity};
use super::{Conversion, Situation};
use crate::store::db::dialect::ddl::{self, quoted};
use crate::store::db::dialect::{Backend, Dialect};
use crate::store::db::inspect::{FoundColumn, FoundIndex, FoundTable, IndexState};
use crate::store::db::register::Declared;
use crate::store::db::schema::{TableCheck, TableColumn, TableDef, TableForeignKey, TableIndex};
use crate::store::db::value::ColumnType;

/// Behind the name of a column whose values are on their way to another type, on MySQL.
pub(crate) const SWAPPED: &str = "_new_";

/// A table that is there, beside the wanted one.
#[derive(Debug)]
pub(super) struct Difference<'a> {
    pub(super) table: &'a TableDef,
    pub(super) there: &'a FoundTable,
    /// The name it has now.
    pub(super) present: &'a str,
    /// All wanted columns, in their order.
    pub(super) columns: Vec<Pair<'a>>,
    /// Columns that nobody wants, and that may go.
    pub(super) dropped: Vec<&'a FoundColumn>,
    /// Columns that nobody wants, and that stay.
    pub(super) kept: Vec<&'a FoundColumn>,
    pub(super) checks: Parts<'a, TableCheck>,
    pub(super) foreign_keys: Parts<'a, TableForeignKey>,
    pub(super) indexes: Parts<'a, TableIndex>,
    /// MySQL: the column that tells living rows is not there.
    pub(super) lacks_live: bool,
}

/// What of a kind has to come, and the names of what has to go; what is remade is in both.
#[derive(Debug)]
pub(super) struct Parts<'a, T> {
    pub(super) added: Vec<&'a T>,
    pub(super) dropped: Vec<String>,
}

/// A wanted column and the one that is there.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    pub(super) column: &'a TableColumn,
    pub(super) there: Option<&'a FoundColumn>,
    /// What it holds now, where that is something else.
    pub(super) from: Option<ColumnType>,
    /// Whether the database has to know of the type.
    pub(super) is_stored_otherwise: bool,
    /// MySQL: a text without bound that is to have one.
    pub(super) is_to_be_bounded: bool,
    pub(super) default_differs: bool,
    /// What may be null now and must not, or the other way round.
    pub(super) nullability_differs: bool,
}

impl Pair<'_> {
    /// Its nulls become the default, because it must not be null any more.
    pub(super) fn fills_nulls(&self) -> bool {
        let has_default = self.column.default.as_ref().is_some_and(|value| !value.is_null());
        self.nullability_differs && !self.column.nullable && has_default
    }

    pub(super) fn is_altered(&self) -> bool {
        self.there.is_some() && (self.is_stored_otherwise || self.default_differs || self.nullability_differs)
    }

    /// The name it had, where it is renamed.
    pub(super) fn old_name(&self) -> Option<&str> {
        self.there.map(|there| there.name.as_str()).filter(|name| *name != self.column.name)
    }

    /// How the value `x` of the old column becomes the new one's.
    pub(super) fn conversion(&self, x: &str, dialect: &dyn Dialect) -> Conversion {
        conversion(self.from.unwrap_or(self.column.ty), self.column.ty, x, dialect)
    }

    /// MySQL: whether its values go by way of a second column.
    pub(super) fn is_swapped(&self, dialect: &dyn Dialect) -> bool {
        dialect.backend() == Backend::MySql && self.is_stored_otherwise && !self.conversion("x", dialect).is_native
    }

    pub(super) fn scratch_name(&self) -> String {
        format!("{}{SWAPPED}", self.column.name)
    }

    /// Its value in the table as it is going to be, over the table as it is.
    pub(super) fn value(&self, dialect: &dyn Dialect) -> String {
        let default = ddl::default_literal(self.column, dialect);
        let Some(there) = self.there else {
            return typed(default.as_deref().unwrap_or("NULL"), self.column, dialect);
        };
        let x = quoted(&there.name, dialect);
        let conversion = self.conversion(&x, dialect);
        let value = if conversion.is_known { conversion.expression } else { typed("NULL", self.column, dialect) };
        match default {
            Some(default) if self.fills_nulls() => {
                format!("COALESCE({value}, {})", typed(&default, self.column, dialect))
            }
            _ => value,
        }
    }
}

/// PostgreSQL takes a constant in a query for text unless it is told.
fn typed(constant: &str, column: &TableColumn, dialect: &dyn Dialect) -> String {
    if dialect.backend() != Backend::Postgres {
        return constant.to_owned();
    }
    let ty = dialect.column_type(column.ty, column.indexed);
    match ty.split_once(' ') {
        Some((ty, collate)) if collate.starts_with("COLLATE") => format!("(CAST({constant} AS {ty}) {collate})"),
        _ => format!("CAST({constant} AS {ty})"),
    }
}

impl<'a> Difference<'a> {
    pub(super) fn new(
        table: &'a TableDef,
        there: &'a FoundTable,
        present: &'a str,
        situation: &Situation<'a>,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let dialect = situation.dialect;
        let declared = situation.declared(table, present);
        let columns: Vec<Pair<'a>> =
            table.columns.iter().map(|column| pair(table, column, there, declared, dialect, findings)).collect();
        let mut difference = Difference {
            table,
            there,
            present,
            columns,
            dropped: Vec::new(),
            kept: Vec::new(),
            checks: checks(table, there, declared),
            foreign_keys: foreign_keys(table, there, declared, situation),
            indexes: indexes(table, there, declared, dialect),
            lacks_live: dialect.backend() == Backend::MySql && table.soft_delete && there.column(ddl::LIVE).is_none(),
        };
        difference.sort_others(declared, situation, findings);
        difference.leave_what_others_hold(dialect, findings);
        difference
    }

    /// Columns that are in no declaration: dropped where they were in one and a flag allows it, else kept.
    fn sort_others(&mut self, declared: Option<&Declared>, situation: &Situation<'a>, findings: &mut Vec<Finding>) {
        let is_matched =
            |there: &FoundColumn| self.columns.iter().any(|pair| pair.there.is_some_and(|t| t.name == there.name));
        let is_scratch = |there: &FoundColumn| {
            situation.dialect.backend() == Backend::MySql
                && self.columns.iter().any(|pair| pair.scratch_name() == there.name)
        };
        let others: Vec<&FoundColumn> =
            self.there.columns.iter().filter(|there| there.name != ddl::LIVE && !is_matched(there)).collect();
        let scratch: Vec<bool> = others.iter().map(|there| is_scratch(there)).collect();
        for (there, is_scratch) in others.into_iter().zip(scratch) {
            let was_declared = declared.is_some_and(|declared| declared.columns.contains_key(&there.name));
            if is_scratch || (was_declared && situation.options.allow_column_deletion) {
                self.dropped.push(there);
                continue;
            }
            self.kept.push(there);
            findings.push(Finding {
                severity: Severity::Note,
                table: self.table.name.clone(),
                column: Some(there.name.clone()),
                what: format!("`{}.{}` is in the database and not in the code; it stays", self.table.name, there.name),
                cure: was_declared.then(|| "ALLOW_COLUMN_DELETION=true drops it".to_owned()),
            });
        }
    }

    /// MySQL: a bounded text that somebody else's index covers keeps its bound.
    fn leave_what_others_hold(&mut self, dialect: &dyn Dialect, findings: &mut Vec<Finding>) {
        if dialect.backend() != Backend::MySql {
            return;
        }
        for pair in &mut self.columns {
            let Some(there) = pair.there else { continue };
            let is_widened = pair.is_stored_otherwise && there.sql_type.starts_with("varchar");
            let holds = |(name, index): (&String, &FoundIndex)| {
                let is_ours = self.indexes.dropped.contains(name) || self.table.indexes.iter().any(|i| i.name == *name);
                (!is_ours && index.columns.contains(&there.name)).then(|| name.clone())
            };
            if let Some(index) = self.there.indexes.iter().find_map(holds).filter(|_| is_widened) {
                pair.is_stored_otherwise = false;
                findings.push(Finding {
                    severity: Severity::Note,
                    table: self.table.name.clone(),
                    column: Some(there.name.clone()),
                    what: format!(
                        "`{}.{}` stays `{}` because of the index `{index}`, which is not in the code",
                        self.table.name, there.name, there.sql_type
                    ),
                    cure: Some("drop that index".to_owned()),
                });
            }
        }
    }

    /// Columns that stay, and that would refuse every new row.
    pub(super) fn relaxed(&self) -> impl Iterator<Item = &&'a FoundColumn> {
        self.kept.iter().filter(|there| !there.nullable && there.default.is_none() && !there.generated)
    }

    /// Whether values of a column become another type's.
    pub(super) fn changes_types(&self) -> bool {
        self.columns.iter().any(|pair| pair.there.is_some() && pair.is_stored_otherwise)
    }

    /// Whether a table or column gets another name.
    pub(super) fn renames(&self) -> bool {
        self.present != self.table.name || self.columns.iter().any(|pair| pair.old_name().is_some())
    }

    /// The table as it is going to be, as a query over the one that is.
    pub(super) fn future(&self, dialect: &dyn Dialect) -> String {
        let column = |pair: &Pair<'_>| format!("{} AS {}", pair.value(dialect), quoted(&pair.column.name, dialect));
        let columns: Vec<String> = self.columns.iter().map(column).collect();
        format!("SELECT {} FROM {}", columns.join(", "), quoted(self.present, dialect))
    }
}

fn pair<'a>(
    table: &'a TableDef,
    column: &'a TableColumn,
    there: &'a FoundTable,
    declared: Option<&Declared>,
    dialect: &dyn Dialect,
    findings: &mut Vec<Finding>,
) -> Pair<'a> {
    let old = column.renamed_from.as_deref().filter(|old| !table.columns.iter().any(|other| other.name == *old));
    let found = there.column(&column.name).or_else(|| there.column(old?));
    let mut pair = Pair {
        column,
        there: found,
        from: None,
        is_stored_otherwise: false,
        is_to_be_bounded: false,
        default_differs: false,
        nullability_differs: false,
    };
    let Some(found) = found.filter(|_| !column.identity) else { return pair };
    let known = declared.and_then(|declared| declared.columns.get(&found.name).or_else(|| declared.columns.get(old?)));
    let wanted_type = catalogue_type(column, dialect);
    let Some(meaning) = dialect.meaning_of(&found.sql_type) else {
        findings.push(Finding {
            severity: Severity::Note,
            table: table.name.clone(),
            column: Some(column.name.to_string()),
            what: format!(
                "`{}.{}` is `{}` in the database and {} in the code; it stays as it is",
                table.name,
                column.name,
                found.sql_type,
                column.ty.described()
            ),
            cure: None,
        });
        return pair;
    };
    let now = what_it_holds(meaning, known.map(|known| known.ty), column.ty);
    pair.from = Some(now).filter(|now| *now != column.ty);
    let wanted_meaning = dialect.meaning_of(&wanted_type);
    let is_bounded = |ty: &str| dialect.backend() == Backend::MySql && ty.starts_with("varchar");
    pair.is_to_be_bounded = found.sql_type == "longtext" && is_bounded(&wanted_type);
    let is_to_be_widened = is_bounded(&found.sql_type) && wanted_type == "longtext";
    pair.is_stored_otherwise = wanted_meaning != Some(meaning) || pair.is_to_be_bounded || is_to_be_widened;
    let wanted_default = column.default.as_ref().filter(|value| !value.is_null());
    pair.default_differs = match (wanted_default, &found.default) {
        (None, None) => false,
        (Some(wanted), Some(_)) => {
            // Without a record, a default that is there is taken for ours.
            let known = known.and_then(|known| known.default.as_ref());
            known.is_some_and(|known| serde_json::to_value(wanted).is_ok_and(|wanted| wanted != *known))
        }
        _ => true,
    };
    pair.nullability_differs = column.nullable != found.nullable;
    pair
}

/// UUIDs and decimal numbers are texts to the catalogue; the register knows better.
fn what_it_holds(meaning: ColumnType, declared: Option<ColumnType>, wanted: ColumnType) -> ColumnType {
    let is_text = |ty: &ColumnType| matches!(ty, ColumnType::Text | ColumnType::Uuid | ColumnType::Decimal);
    if !is_text(&meaning) {
        return meaning;
    }
    match declared {
        Some(declared) if is_text(&declared) => declared,
        None if is_text(&wanted) => wanted,
        _ => meaning,
    }
}

/// Whether a name is one that the kernel gives, wherever it stands.
fn looks_ours(name: &str, kinds: &[&str]) -> bool {
    kinds.iter().any(|kind| name.strip_prefix(kind).is_some_and(|rest| rest.starts_with('.')))
}

fn checks<'a>(table: &'a TableDef, there: &FoundTable, declared: Option<&Declared>) -> Parts<'a, TableCheck> {
    let known = |name: &str| declared.and_then(|declared| declared.checks.get(name));
    let is_same = |check: &TableCheck| known(&check.name).is_none_or(|known| *known == check.source);
    let stays = |name: &str| table.checks.iter().any(|check| check.name == name && is_same(check));
    let is_ours = |name: &str| looks_ours(name, &["ck"]) || known(name).is_some();
    Parts {
        added: table.checks.iter().filter(|check| !there.checks.contains(&check.name) || !is_same(check)).collect(),
        dropped: there.checks.iter().filter(|name| is_ours(name) && !stays(name)).cloned().collect(),
    }
}

fn foreign_keys<'a>(
    table: &'a TableDef,
    there: &FoundTable,
    declared: Option<&Declared>,
    situation: &Situation<'_>,
) -> Parts<'a, TableForeignKey> {
    let is_same = |key: &TableForeignKey| {
        there
            .foreign_keys
            .get(&key.name)
            .is_some_and(|found| found.column == key.column && situation.future_name(&found.target) == key.target.table)
    };
    let stays = |name: &str| table.foreign_keys.iter().any(|key| key.name == name && is_same(key));
    let is_known = |name: &str| declared.is_some_and(|declared| declared.foreign_keys.contains(name));
    let is_ours = |name: &str| looks_ours(name, &["fk"]) || is_known(name);
    Parts {
        added: table.foreign_keys.iter().filter(|key| !is_same(key)).collect(),
        dropped: there.foreign_keys.keys().filter(|name| is_ours(name) && !stays(name)).cloned().collect(),
    }
}

fn indexes<'a>(
    table: &'a TableDef,
    there: &FoundTable,
    declared: Option<&Declared>,
    dialect: &dyn Dialect,
) -> Parts<'a, TableIndex> {
    let is_same = |index: &TableIndex| {
        there.indexes.get(&index.name).is_some_and(|found| {
            let is_partial = index.unique && table.soft_delete && dialect.backend() != Backend::MySql;
            found.columns == ddl::index_columns(table, index, dialect)
                && (found.unique, found.partial) == (index.unique, is_partial)
                && found.state != IndexState::Broken
        })
    };
    let stays = |name: &str| table.indexes.iter().any(|index| index.name == name && is_same(index));
    let is_known = |name: &str| declared.is_some_and(|declared| declared.indexes.contains(name));
    let is_ours = |name: &str| looks_ours(name, &["ix", "uq"]) || is_known(name);
    Parts {
        added: table.indexes.iter().filter(|index| !is_same(index)).collect(),
        dropped: there.indexes.keys().filter(|name| is_ours(name) && !stays(name)).cloned().collect(),
    }
}

/// The wanted type in the words that the catalogue uses.
pub(super) fn catalogue_type(column: &TableColumn, dialect: &dyn Dialect) -> String {
    let ty = dialect.column_type(column.ty, column.indexed).to_lowercase();
    match dialect.backend() {
        Backend::Sqlite => ty,
        Backend::Postgres => match ty.as_str() {
            "text collate \"c\"" => "text".to_owned(),
            "timestamptz" => "timestamp with time zone".to_owned(),
            "time" => "time without time zone".to_owned(),
            _ => ty,
        },
        Backend::MySql => match ty.as_str() {
            "boolean" => "tinyint".to_owned(),
            _ => ty.replace('\'', ""),
        },
    }
}
