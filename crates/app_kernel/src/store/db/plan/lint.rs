//! What the data can have against a plan, as queries that count. They are asked before the first statement, so tables and columns have
//! the names that are found.

use super::difference::{Difference, Pair};
use super::finding::{Finding, Severity};
use super::{Planner, Question};
use crate::store::db::dialect::ddl::quoted;
use crate::store::db::entity::{DELETED_AT, LONGEST_INDEXED_TEXT};
use crate::store::db::schema::{TableForeignKey, TableIndex};

/// In a finding, the place of the number that the query counts.
pub(super) const COUNT: &str = "{n}";

impl Planner<'_> {
    pub(super) fn ask_about(&mut self, difference: &Difference<'_>) {
        let dialect = self.situation.dialect;
        let from = quoted(difference.present, dialect);
        let table = &difference.table.name;
        for pair in &difference.columns {
            self.ask_about_column(difference, pair, &from);
        }
        for column in &difference.dropped {
            let query = format!("SELECT COUNT(*) FROM {from} WHERE {} IS NOT NULL", quoted(&column.name, dialect));
            let what = format!("`{table}.{}` is dropped, with its values in {COUNT} rows", column.name);
            self.ask(Severity::Warning, 0, query, table, Some(&column.name), what, None);
        }
        for check in &difference.checks.added {
            let future = difference.future(dialect);
            let query = format!("SELECT COUNT(*) FROM ({future}) AS f WHERE NOT ({})", check.condition);
            let what = format!("`{table}` has rows ({COUNT}) that break the rule {}", check.source);
            self.ask(
                Severity::Refused,
                1,
                query,
                table,
                None,
                what,
                Some("change those rows first, or take the rule away"),
            );
        }
        for index in difference.indexes.added.iter().filter(|index| index.unique) {
            self.ask_about_twins(difference, index);
        }
        for key in &difference.foreign_keys.added {
            self.ask_about_orphans(difference, key);
        }
    }

    fn ask_about_column(&mut self, difference: &Difference<'_>, pair: &Pair<'_>, from: &str) {
        let dialect = self.situation.dialect;
        let table = &difference.table.name;
        let name = &pair.column.name;
        let has_default = pair.column.default.as_ref().is_some_and(|value| !value.is_null());
        let Some(there) = pair.there else {
            if !pair.column.nullable && !has_default {
                let what = format!("`{table}` has rows ({COUNT}), and they have no value for the new column `{name}`");
                let cure = "give it a default by #[entity(default = ..)], or make it an Option";
                let query = format!("SELECT COUNT(*) FROM {from}");
                self.ask(Severity::Refused, 1, query, table, Some(name), what, Some(cure));
            }
            return;
        };
        let x = quoted(&there.name, dialect);
        if let Some(now) = pair.from {
            let conversion = pair.conversion(&x, dialect);
            if let Some(unfit) = conversion.unfit {
                let ty = pair.column.ty.described();
                let (what, cure) = if conversion.is_known {
                    let what = format!("`{table}` has rows ({COUNT}) whose `{name}` can't become {ty}");
                    (what, "change those rows first, or give the new type to another column")
                } else {
                    let what =
                        format!("`{table}.{name}` holds {} in {COUNT} rows, and no way leads to {ty}", now.described());
                    (what, "add a column of the new type, fill it, and take this one away later")
                };
                let query = format!("SELECT COUNT(*) FROM {from} WHERE {unfit}");
                self.ask_first(query, table, name, what, cure);
            }
        }
        if pair.is_to_be_bounded {
            let query = format!("SELECT COUNT(*) FROM {from} WHERE {} > {LONGEST_INDEXED_TEXT}", dialect.length(&x));
            let what = format!(
                "`{table}` has rows ({COUNT}) whose `{name}` is longer than {LONGEST_INDEXED_TEXT} characters, so it can't have an index"
            );
            self.ask_first(query, table, name, what, "shorten them first, or take the index away");
        }
        if pair.nullability_differs && !pair.column.nullable {
            let query = format!("SELECT COUNT(*) FROM {from} WHERE {x} IS NULL");
            if has_default {
                let what = format!(
                    "`{table}` has rows ({COUNT}) without `{name}`, which is required now; they get its default"
                );
                self.ask(Severity::Note, 1, query, table, Some(name), what, None);
            } else {
                let what = format!("`{table}` has rows ({COUNT}) without `{name}`, which is required now");
                let cure = "give it a default by #[entity(default = ..)], fill those rows first, or make it an Option";
                self.ask(Severity::Refused, 1, query, table, Some(name), what, Some(cure));
            }
        }
    }

    fn ask_about_twins(&mut self, difference: &Difference<'_>, index: &TableIndex) {
        let dialect = self.situation.dialect;
        let table = &difference.table.name;
        let names: Vec<String> = index.columns.iter().map(|name| quoted(name, dialect)).collect();
        let mut conditions: Vec<String> = names.iter().map(|name| format!("{name} IS NOT NULL")).collect();
        if difference.table.soft_delete {
            conditions.push(format!("{} IS NULL", quoted(DELETED_AT, dialect)));
        }
        let query = format!(
            "SELECT COUNT(*) FROM (SELECT 1 AS twice FROM ({}) AS f WHERE {} GROUP BY {} HAVING COUNT(*) > 1) AS d",
            difference.future(dialect),
            conditions.join(" AND "),
            names.join(", ")
        );
        let columns = index.columns.join(", ");
        let what =
            format!("`{table}` has values of `{columns}` that stand on several rows ({COUNT}), so it can't be unique");
        let cure = "change those rows first, or take `unique` away";
        self.ask(Severity::Refused, 1, query, table, Some(&index.columns[0]), what, Some(cure));
    }

    fn ask_about_orphans(&mut self, difference: &Difference<'_>, key: &TableForeignKey) {
        let dialect = self.situation.dialect;
        let table = &difference.table.name;
        let column = quoted(&key.column, dialect);
        let (target_table, target_column) = (&key.target.table, quoted(&key.target.column, dialect));
        let exists = self.situation.present_name(target_table).map(|present| {
            format!(
                " AND NOT EXISTS (SELECT 1 FROM {} AS p WHERE p.{target_column} = f.{column})",
                quoted(present, dialect)
            )
        });
        let query = format!(
            "SELECT COUNT(*) FROM ({}) AS f WHERE f.{column} IS NOT NULL{}",
            difference.future(dialect),
            exists.unwrap_or_default()
        );
        let what = format!("`{table}` has rows ({COUNT}) whose `{}` refers to no row of `{target_table}`", key.column);
        let cure = "change or delete those rows first, or take the foreign key away";
        self.ask(Severity::Refused, 1, query, table, Some(&key.column), what, Some(cure));
    }

    /// Says of a statement over all rows of a large table what it costs.
    pub(super) fn warn_if_large(&mut self, difference: &Difference<'_>, what_is_done: &str) {
        let table = &difference.table.name;
        let large = i64::try_from(self.situation.options.large_table_rows).unwrap_or(i64::MAX);
        let what = format!("`{table}` has {COUNT} rows: {what_is_done}");
        match difference.there.rows {
            Some(rows) if i64::try_from(rows).is_ok_and(|rows| rows < large) => {}
            Some(rows) => self.findings.push(Finding {
                severity: Severity::Warning,
                table: table.clone(),
                column: None,
                what: what.replace(COUNT, &rows.to_string()),
                cure: None,
            }),
            None => {
                let query = format!("SELECT COUNT(*) FROM {}", quoted(difference.present, self.situation.dialect));
                self.ask(Severity::Warning, large.max(1), query, table, None, what, None);
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a question is its parts")]
    pub(super) fn ask(
        &mut self,
        severity: Severity,
        at_least: i64,
        query: String,
        table: &str,
        column: Option<&str>,
        what: String,
        cure: Option<&str>,
    ) {
        let (table, column, cure) = (table.to_owned(), column.map(str::to_owned), cure.map(str::to_owned));
        let finding = Finding { severity, table, column, what, cure };
        self.questions.push(Question { query, at_least, finding, is_first: false });
    }

    /// A refusal by it makes other questions about the table pointless: their values could not be worked out.
    fn ask_first(&mut self, query: String, table: &str, column: &str, what: String, cure: &str) {
        self.ask(Severity::Refused, 1, query, table, Some(column), what, Some(cure));
        if let Some(question) = self.questions.last_mut() {
            question.is_first = true;
        }
    }
}
