//! Wanted minus found: the statements that lead from one to the other, and what there is to say about them, as a plain value.
//! Planning never writes. What could lose data is planned only where a flag allows it.

mod convert;
pub(crate) mod difference;
pub(crate) mod finding;
mod lint;
pub(crate) mod rebuild;
mod statements;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::dialect::ddl;
use super::dialect::{Backend, Dialect};
use super::inspect::{Found, FoundTable, IndexState};
use super::migrate::MigrationOptions;
use super::register::{self, Declared, Register};
use super::schema::{KERNEL_PREFIX, TableDef};
use convert::Conversion;
use difference::Difference;
use finding::{Finding, Severity};

/// What has to be done, in order.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// What is known without a look at the data.
    pub(crate) findings: Vec<Finding>,
    /// What the data has to be asked.
    pub(crate) questions: Vec<Question>,
    /// SQLite: tables that are made anew, and whose references are looked at in the end.
    pub(crate) rebuilt: Vec<String>,
    /// PostgreSQL: indexes that another process is making.
    pub(crate) awaited: Vec<String>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) sql: String,
    /// PostgreSQL: the index that this makes, outside of the transaction and after it.
    pub(crate) later: Option<String>,
}

/// A query that counts, and what there is to say if it counts enough. In `finding`, `{n}` stands for the number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) query: String,
    pub(crate) at_least: i64,
    pub(crate) finding: Finding,
    /// Where this refuses, other questions about the table can't be asked.
    pub(crate) is_first: bool,
}

impl Question {
    /// What there is to say for a number.
    pub(crate) fn answered(&self, count: i64) -> Option<Finding> {
        let what = self.finding.what.replace(lint::COUNT, &count.to_string());
        (count >= self.at_least).then(|| Finding { what, ..self.finding.clone() })
    }
}

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub(crate) wanted: &'a [TableDef],
    pub(crate) found: &'a Found,
    pub(crate) register: &'a Register,
    pub(crate) dialect: &'a dyn Dialect,
    pub(crate) options: &'a MigrationOptions,
    /// An undeclared entity is saved: nothing but what its rows lack is made.
    pub(crate) undeclared: Option<&'a str>,
}

impl<'a> Situation<'a> {
    /// What was declared of a table, whose new name may have come before a migration was cut off.
    fn declared(&self, table: &TableDef, present: &str) -> Option<&'a Declared> {
        let was = table.renamed_from.as_deref().filter(|old| !self.found.tables.contains_key(*old));
        let mut names = [Some(present), Some(table.name.as_str()), was].into_iter().flatten();
        names.find_map(|name| self.register.get(name))
    }

    /// The service that declared a table, where it is another than this one.
    fn stranger(&self, known: &'a Declared) -> Option<&'a str> {
        let names = [self.options.service.as_deref(), self.options.service_renamed_from.as_deref()];
        known.service.as_deref().filter(|service| names[0].is_some() && !names.contains(&Some(service)))
    }

    /// The name that a wanted table has now, where it is there.
    fn present_name(&self, wanted: &str) -> Option<&'a str> {
        let was = self.wanted.iter().find(|table| table.name == wanted).and_then(|table| table.renamed_from.as_deref());
        let mut names = [Some(wanted), was].into_iter().flatten();
        names.find_map(|name| self.found.tables.get_key_value(name)).map(|(name, _)| name.as_str())
    }

    /// The name that a found table is going to have.
    fn future_name<'b>(&'b self, present: &'b str) -> &'b str {
        let renamed = self.wanted.iter().find(|table| self.renamed(table).is_some_and(|(old, _)| old == present));
        renamed.map_or(present, |table| &table.name)
    }

    /// The found table that is to get this name, where there is one.
    fn renamed(&self, table: &'a TableDef) -> Option<(&'a str, &'a FoundTable)> {
        let old = table.renamed_from.as_deref().filter(|old| !self.wanted.iter().any(|other| other.name == *old))?;
        let there = self.found.tables.get(old)?;
        (!self.found.tables.contains_key(&table.name)).then_some((old, there))
    }
}

/// Plans the way from what is found to what is wanted.
pub(crate) fn plan(situation: Situation<'_>) -> Plan {
    let mut planner = Planner::new(situation);
    for table in situation.wanted {
        planner.plan_table(table);
    }
    if situation.undeclared.is_none() {
        planner.refuse_another_service();
        planner.plan_leftovers();
    }
    planner.finish()
}

/// A plan in the making. Statements of one kind wait in a list of their own until all tables have said theirs.
pub(super) struct Planner<'a> {
    situation: Situation<'a>,
    findings: Vec<Finding>,
    questions: Vec<Question>,
    rebuilt: Vec<String>,
    awaited: Vec<String>,
    dropped_keys: Vec<String>,
    renamed_tables: Vec<String>,
    changes: Vec<Step>,
    /// Foreign keys come when all tables are there.
    added_keys: Vec<String>,
    dropped_tables: Vec<String>,
    /// What the register is to say.
    declared: BTreeMap<String, Declared>,
}

impl<'a> Planner<'a> {
    fn new(situation: Situation<'a>) -> Self {
        Planner {
            situation,
            findings: Vec::new(),
            questions: Vec::new(),
            rebuilt: Vec::new(),
            awaited: Vec::new(),
            dropped_keys: Vec::new(),
            renamed_tables: Vec::new(),
            changes: Vec::new(),
            added_keys: Vec::new(),
            dropped_tables: Vec::new(),
            declared: BTreeMap::new(),
        }
    }

    fn change(&mut self, sql: String) {
        self.changes.push(Step { sql, later: None });
    }

    fn plan_table(&mut self, table: &'a TableDef) {
        let situation = self.situation;
        let dialect = situation.dialect;
        let is_undeclared = situation.undeclared.is_some_and(|name| is_table_of(name, &table.name));
        let there = match situation.renamed(table) {
            Some((old, there)) => {
                self.renamed_tables.push(ddl::rename_table(old, table, dialect));
                Some((old, there))
            }
            None => situation.found.tables.get(&table.name).map(|there| (table.name.as_str(), there)),
        };
        let Some((present, there)) = there else {
            for statement in ddl::create_table(table, dialect) {
                self.change(statement);
            }
            if dialect.backend() != Backend::Sqlite {
                self.added_keys.extend(table.foreign_keys.iter().map(|key| ddl::add_foreign_key(table, key, dialect)));
            }
            if !is_undeclared {
                self.declare(&table.name, Declared::of(table));
            }
            return;
        };
        if situation.undeclared.is_some() {
            if is_undeclared {
                self.add_columns(table, there);
            }
            return;
        }
        self.note_twin(table);
        self.refuse_other_key(table, there);
        let difference = Difference::new(table, there, present, &situation, &mut self.findings);
        self.ask_about(&difference);
        self.await_indexes(&difference);
        if dialect.backend() == Backend::Sqlite && rebuild::is_needed(&difference) {
            self.rebuild(&difference);
        } else {
            self.alter(&difference);
        }
        let mut declared = Declared::of(table);
        if let Some(known) = situation.declared(table, present) {
            let still_there = difference.kept.iter().filter_map(|column| known.columns.get_key_value(&column.name));
            declared.columns.extend(still_there.map(|(name, column)| (name.clone(), column.clone())));
        }
        self.declare(&table.name, declared);
    }

    fn add_columns(&mut self, table: &TableDef, there: &FoundTable) {
        for column in table.columns.iter().filter(|column| there.column(&column.name).is_none()) {
            let statement = ddl::add_column(table, column, self.situation.dialect);
            self.change(statement);
        }
    }

    fn note_twin(&mut self, table: &TableDef) {
        let situation = self.situation;
        let Some(old) = table.renamed_from.as_ref().filter(|old| situation.found.tables.contains_key(*old)) else {
            return;
        };
        let is_wanted = situation.wanted.iter().any(|other| other.name == *old);
        if !is_wanted && situation.found.tables.contains_key(&table.name) {
            self.note(
                &table.name,
                format!("`{old}` was renamed to `{}`, but both are there; `{old}` stays", table.name),
                None,
            );
        }
    }

    fn refuse_other_key(&mut self, table: &TableDef, there: &FoundTable) {
        let counted = table.columns.iter().filter(|column| column.identity).map(|column| column.name.to_string());
        let mut wanted: Vec<String> = counted.chain(table.primary_key.iter().map(ToString::to_string)).collect();
        let mut key = there.primary_key.clone();
        wanted.sort();
        key.sort();
        if wanted != key {
            let name = &table.name;
            let key = if key.is_empty() {
                "no primary key".to_owned()
            } else {
                format!("the primary key {}", key.join(", "))
            };
            self.findings.push(Finding {
                severity: Severity::Refused,
                table: name.clone(),
                column: None,
                what: format!("`{name}` is there with {key}; the code wants {}", wanted.join(", ")),
                cure: Some(
                    "give the entity another table by #[entity(table = \"…\")], or rename the table that is there"
                        .to_owned(),
                ),
            });
        }
    }

    /// Notes what is declared of a wanted table, and by whom.
    fn declare(&mut self, name: &str, declared: Declared) {
        let ours = self.situation.options.service.clone().filter(|_| !name.starts_with(KERNEL_PREFIX));
        let service = ours.or_else(|| self.situation.register.get(name)?.service.clone());
        self.declared.insert(name.to_owned(), Declared { service, ..declared });
    }

    fn await_indexes(&mut self, difference: &Difference<'_>) {
        let building = difference.there.indexes.iter().filter(|(_, index)| index.state == IndexState::Building);
        self.awaited.extend(building.map(|(name, _)| name.clone()));
    }

    /// Two services in one database would take each other's tables for leftovers, and share their users.
    fn refuse_another_service(&mut self) {
        let situation = self.situation;
        let Some(ours) = &situation.options.service else { return };
        let strangers =
            situation.register.iter().filter_map(|(table, known)| Some((table, situation.stranger(known)?)));
        let Some((table, theirs)) = strangers.min_by_key(|(_, service)| *service) else { return };
        self.findings.push(Finding {
            severity: Severity::Refused,
            table: table.clone(),
            column: None,
            what: format!("this database is of the service `{theirs}`, which declared `{table}`, and this is `{ours}`"),
            cure: Some(format!(
                "give `{ours}` a database of its own; where it is `{theirs}` under a new name, start once with SERVICE_RENAMED_FROM={theirs}"
            )),
        });
    }

    /// Tables that were declared once and are no more.
    fn plan_leftovers(&mut self) {
        let situation = self.situation;
        let dialect = situation.dialect;
        let is_leftover = |name: &str| {
            situation.register.contains_key(name)
                && !name.starts_with(KERNEL_PREFIX)
                && situation.wanted.iter().all(|table| table.name != name)
                && situation.future_name(name) == name
        };
        let leftovers: Vec<(&String, &FoundTable)> =
            situation.found.tables.iter().filter(|(name, _)| is_leftover(name)).collect();
        for (name, there) in &leftovers {
            let is_history =
                name.strip_suffix("_history").is_some_and(|of| leftovers.iter().any(|(other, _)| *other == of));
            let Some(known) = situation.register.get(*name) else { continue };
            if situation.stranger(known).is_some() {
                self.declared.insert((*name).clone(), known.clone());
                continue;
            }
            if situation.options.allow_table_deletion {
                let query = format!("SELECT COUNT(*) FROM {}", ddl::quoted(name, dialect));
                let what = format!("`{name}` is dropped, with its {} rows", lint::COUNT);
                self.ask(Severity::Warning, 0, query, name, None, what, None);
                if dialect.backend() != Backend::Sqlite {
                    let keys = there.foreign_keys.keys();
                    self.dropped_keys.extend(keys.map(|key| ddl::drop_foreign_key(name, key, dialect)));
                }
                self.refuse_references_to(name, &leftovers);
                self.dropped_tables.push(ddl::drop_table(name, dialect));
                continue;
            }
            self.declare(name, known.clone());
            if !is_history {
                let what = format!("`{name}` is in the database and not in the code; it stays");
                self.note(name, what, Some("ALLOW_TABLE_DELETION=true drops it".to_owned()));
            }
        }
    }

    /// A table that others refer to, who are neither ours nor dropped too, can't be dropped.
    fn refuse_references_to(&mut self, name: &str, dropped: &[(&String, &FoundTable)]) {
        let found = &self.situation.found.tables;
        let others = found.iter().filter(|(other, _)| dropped.iter().all(|(gone, _)| gone != other));
        for (other, table) in others {
            let ours =
                self.situation.wanted.iter().find(|wanted| self.situation.present_name(&wanted.name) == Some(other));
            let refers = table
                .foreign_keys
                .iter()
                .find(|(key, found)| found.target == name && !(ours.is_some() && key.starts_with("fk.")));
            if let Some((key, _)) = refers {
                self.findings.push(Finding {
                    severity: Severity::Refused,
                    table: name.to_owned(),
                    column: None,
                    what: format!("`{name}` can't be dropped: `{other}` refers to it by `{key}`"),
                    cure: Some("drop that foreign key first".to_owned()),
                });
            }
        }
    }

    fn note(&mut self, table: &str, what: String, cure: Option<String>) {
        self.findings.push(Finding { severity: Severity::Note, table: table.to_owned(), column: None, what, cure });
    }

    fn finish(self) -> Plan {
        let Situation { register, dialect, undeclared, .. } = self.situation;
        let now = |sql: String| Step { sql, later: None };
        let (changes, later): (Vec<Step>, Vec<Step>) = self.changes.into_iter().partition(|step| step.later.is_none());
        let changed = self.declared.iter().filter(|(name, declared)| register.get(*name) != Some(declared));
        let put = changed.map(|(name, declared)| register::put(name, declared, dialect));
        let is_gone = |name: &str| match undeclared {
            // Whoever saves without a declaration owns the table now.
            Some(entity) => is_table_of(entity, name),
            None => !name.starts_with(KERNEL_PREFIX) && !self.declared.contains_key(name),
        };
        let gone = register.keys().filter(|name| is_gone(name));
        let removed = gone.map(|name| register::remove(name, dialect));
        let registered: Vec<Step> = put.chain(removed).map(now).collect();
        let mut steps: Vec<Step> = self.dropped_keys.into_iter().chain(self.renamed_tables).map(now).collect();
        steps.extend(changes);
        steps.extend(self.added_keys.into_iter().chain(self.dropped_tables).map(now));
        steps.extend(registered);
        steps.extend(later);
        let (findings, questions, rebuilt, awaited) = (self.findings, self.questions, self.rebuilt, self.awaited);
        Plan { steps, findings, questions, rebuilt, awaited }
    }
}

/// Whether a table holds the rows or the versions of an entity.
fn is_table_of(entity: &str, table: &str) -> bool {
    table.strip_prefix(entity).is_some_and(|rest| rest.is_empty() || rest == "_history")
}
