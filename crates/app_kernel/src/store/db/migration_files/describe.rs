//! Statements as their file tells them to others: what each makes and takes away, and when another database takes it over.
//!
//! The planner's statements have few forms, and all of them are known here. What has another form is taken over only where nothing is
//! different.

use super::document::{Replayed, StepDocument};
use super::objects::{Objects, check_key, column_key, foreign_key_key, index_key, rename_table, table_key};
use crate::store::db::dialect::Dialect;
use crate::store::db::plan::Step;
use crate::store::db::plan::difference::SWAPPED;
use crate::store::db::plan::rebuild::SCRATCH;
use crate::store::db::schema::DECLARED;

/// Describes the statements of a plan. `after` is the schema that they lead to, where it is there already: it knows the types.
pub(crate) fn describe(
    steps: &[Step],
    dialect: &dyn Dialect,
    before: &Objects,
    after: Option<&Objects>,
) -> Vec<StepDocument> {
    let mut documents: Vec<StepDocument> = Vec::new();
    // What was there, under the names that the statements before gave.
    let mut known = before.clone();
    let mut unit: Option<Unit> = None;
    for step in steps {
        let form = Form::of(&step.sql, dialect);
        if unit.as_ref().is_some_and(|unit| !unit.goes_on(&form)) {
            unit = None;
        }
        if let (Some(unit), Some(document)) = (&mut unit, documents.last_mut()) {
            unit.take(&form, &step.sql, document);
            continue;
        }
        documents.push(document_of(&form, step, &known));
        if let Form::RenameTable { old, new } = form {
            rename_table(&mut known, old, new);
        }
        unit = Unit::starting(&form);
    }
    if let Some(after) = after {
        for document in &mut documents {
            document.makes.iter_mut().for_each(|(object, what)| *what = after.get(object).cloned().unwrap_or_default());
        }
    }
    for document in &mut documents {
        keep_data(document, &known, dialect);
    }
    documents
}

/// Whether a statement only keeps the register, which no schema shows.
pub(crate) fn is_bookkeeping(step: &StepDocument) -> bool {
    step.replayed == Replayed::Always
}

/// What a statement is about. Names come as they stand in it.
enum Form<'a> {
    CreateTable { table: &'a str, columns: Vec<&'a str> },
    DropTable(&'a str),
    RenameTable { old: &'a str, new: &'a str },
    AddColumn { table: &'a str, column: &'a str },
    DropColumn { table: &'a str, column: &'a str },
    RenameColumn { table: &'a str, old: &'a str, new: &'a str },
    CreateIndex { table: &'a str, index: &'a str },
    DropIndex { index: &'a str },
    AddForeignKey { table: &'a str, key: &'a str },
    AddCheck { table: &'a str, check: &'a str },
    DropConstraint { table: &'a str, constraint: &'a str },
    Swap { table: &'a str, column: &'a str },
    Register,
    Other { table: Option<&'a str> },
}

impl<'a> Form<'a> {
    fn of(sql: &'a str, dialect: &dyn Dialect) -> Self {
        let (shape, names) = shape_of(sql, dialect);
        let is = |form: &str| shape.starts_with(form);
        match names[..] {
            [DECLARED, ..] if is("INSERT INTO ?") || is("REPLACE INTO ?") || is("DELETE FROM ?") => Form::Register,
            [table, ..] if is("CREATE TABLE ?") => Form::CreateTable { table, columns: columns_in(sql, dialect) },
            [table, ..] if is("DROP TABLE ?") => Form::DropTable(table),
            [old, new, ..] if is("ALTER TABLE ? RENAME TO ?") => Form::RenameTable { old, new },
            [table, old, new, ..] if is("ALTER TABLE ? RENAME COLUMN ? TO ?") => Form::RenameColumn { table, old, new },
            [table, column, ..] if is("ALTER TABLE ? ADD COLUMN ?") => Form::AddColumn { table, column },
            [table, _, _, column] if is("ALTER TABLE ? DROP COLUMN ?, CHANGE COLUMN ? ?") => {
                Form::Swap { table, column }
            }
            [table, column] if is("ALTER TABLE ? DROP COLUMN ?") => Form::DropColumn { table, column },
            [table, key, ..] if is("ALTER TABLE ? ADD CONSTRAINT ? FOREIGN KEY") => Form::AddForeignKey { table, key },
            [table, check, ..] if is("ALTER TABLE ? ADD CONSTRAINT ? CHECK") => Form::AddCheck { table, check },
            [table, constraint] if is("ALTER TABLE ? DROP CONSTRAINT ?") || is("ALTER TABLE ? DROP FOREIGN KEY ?") => {
                Form::DropConstraint { table, constraint }
            }
            [index, table, ..] if is("CREATE ") && shape.contains("INDEX ") && shape.contains("? ON ?") => {
                Form::CreateIndex { table, index }
            }
            [index, ..] if is("DROP INDEX ?") => Form::DropIndex { index },
            ref names => Form::Other { table: names.first().copied() },
        }
    }
}

/// The head of a statement with `?` in place of quoted names, and the names.
fn shape_of<'a>(sql: &'a str, dialect: &dyn Dialect) -> (String, Vec<&'a str>) {
    const MOST_NAMES: usize = 4;
    let quote = quote_of(dialect);
    let head = &sql[..sql.find(['\'', '\n']).unwrap_or(sql.len())];
    let (mut shape, mut names) = (String::new(), Vec::new());
    for (number, part) in head.split(quote).enumerate() {
        if number % 2 == 0 {
            shape.push_str(part);
        } else if names.len() < MOST_NAMES {
            shape.push('?');
            names.push(part);
        }
    }
    (shape, names)
}

fn quote_of(dialect: &dyn Dialect) -> char {
    let mut quoted = String::new();
    dialect.quote("n", &mut quoted);
    quoted.chars().next().unwrap_or('"')
}

/// A table's definition has a line for each column.
fn columns_in<'a>(sql: &'a str, dialect: &dyn Dialect) -> Vec<&'a str> {
    let quote = quote_of(dialect);
    let lines = sql.lines().skip(1).filter_map(|line| line.strip_prefix("    ")?.strip_prefix(quote));
    lines.filter_map(|line| line.split(quote).next()).collect()
}

/// Statements that make sense together only.
enum Unit {
    /// SQLite: a table that is made anew, until it has its name, its indexes and its triggers.
    Rebuild { table: Option<String> },
    /// A column that is filled from another and takes its place.
    Swap { is_over: bool },
}

impl Unit {
    fn starting(form: &Form<'_>) -> Option<Self> {
        match form {
            Form::CreateTable { table: SCRATCH, .. } => Some(Unit::Rebuild { table: None }),
            Form::AddColumn { column, .. } if column.ends_with(SWAPPED) => Some(Unit::Swap { is_over: false }),
            _ => None,
        }
    }

    fn goes_on(&self, form: &Form<'_>) -> bool {
        match self {
            Unit::Rebuild { table: None } => true,
            Unit::Rebuild { table: Some(name) } => match form {
                Form::CreateIndex { table, .. } => table == name,
                Form::Other { table } => table.is_none_or(|table| table != SCRATCH),
                _ => false,
            },
            Unit::Swap { is_over } => !is_over,
        }
    }

    fn take(&mut self, form: &Form<'_>, sql: &str, document: &mut StepDocument) {
        match (&mut *self, form) {
            (Unit::Rebuild { table }, Form::RenameTable { new, .. }) => {
                let columns = std::mem::take(&mut document.makes);
                let renamed = |(object, what): (String, String)| {
                    let column = object.strip_prefix(&format!("column {SCRATCH}."))?.to_owned();
                    Some((column_key(new, &column), what))
                };
                document.makes = columns.into_iter().filter_map(renamed).collect();
                document.table = (*new).to_owned();
                *table = Some((*new).to_owned());
            }
            (Unit::Swap { is_over }, Form::Swap { table, column }) => {
                document.makes = [(column_key(table, column), String::new())].into();
                *is_over = true;
            }
            _ => {}
        }
        document.replayed = Replayed::WhereUnchanged;
        document.statements.push(sql.to_owned());
    }
}

fn document_of(form: &Form<'_>, step: &Step, known: &Objects) -> StepDocument {
    use Replayed::{Always, WhereEmpty, WhereMissing, WhereUnchanged};
    let (table, replayed, makes, removes) = match form {
        Form::CreateTable { table, columns } => {
            let columns = columns.iter().map(|column| column_key(table, column));
            (*table, WhereMissing, std::iter::once(table_key(table)).chain(columns).collect(), vec![])
        }
        Form::DropTable(table) => (*table, WhereEmpty, vec![], vec![table_key(table)]),
        Form::RenameTable { old, new } => (*new, WhereMissing, vec![table_key(new)], vec![table_key(old)]),
        Form::AddColumn { table, column } => (*table, WhereMissing, vec![column_key(table, column)], vec![]),
        Form::DropColumn { table, column } => (*table, WhereEmpty, vec![], vec![column_key(table, column)]),
        Form::RenameColumn { table, old, new } => {
            (*table, WhereMissing, vec![column_key(table, new)], vec![column_key(table, old)])
        }
        Form::CreateIndex { table, index } => (*table, WhereMissing, vec![index_key(table, index)], vec![]),
        Form::DropIndex { index } => {
            let table = table_of_index(index, known);
            (table, WhereMissing, vec![], vec![index_key(table, index)])
        }
        Form::AddForeignKey { table, key } => (*table, WhereMissing, vec![foreign_key_key(table, key)], vec![]),
        Form::AddCheck { table, check } => (*table, WhereMissing, vec![check_key(table, check)], vec![]),
        Form::DropConstraint { table, constraint } => {
            (*table, WhereMissing, vec![], vec![foreign_key_key(table, constraint), check_key(table, constraint)])
        }
        Form::Swap { table, .. } => (*table, WhereUnchanged, vec![], vec![]),
        Form::Register => (DECLARED, Always, vec![], vec![]),
        Form::Other { table } => (table.unwrap_or_default(), WhereUnchanged, vec![], vec![]),
    };
    StepDocument {
        table: table.to_owned(),
        replayed,
        makes: makes.into_iter().map(|object| (object, String::new())).collect(),
        removes,
        statements: vec![step.sql.clone()],
        later: step.later.clone(),
    }
}

fn table_of_index<'a>(index: &str, known: &'a Objects) -> &'a str {
    let ending = format!(".{index}");
    let tables = known.keys().filter_map(|key| key.strip_prefix("index ")?.strip_suffix(&ending));
    tables.min_by_key(|table| table.len()).unwrap_or_default()
}

/// A table that is made anew without one of its columns loses what that held.
fn keep_data(document: &mut StepDocument, known: &Objects, dialect: &dyn Dialect) {
    if document.replayed != Replayed::WhereUnchanged || document.statements.len() < 2 {
        return;
    }
    let start = format!("column {}.", document.table);
    let quote = quote_of(dialect);
    let copies = |column: &str| {
        let name = format!("{quote}{column}{quote}");
        document.statements.iter().any(|sql| sql.starts_with("INSERT INTO") && sql.contains(&name))
    };
    let is_rebuild = document.statements.iter().any(|sql| sql.contains(SCRATCH));
    let loses = known.keys().filter_map(|key| key.strip_prefix(&start)).any(|column| !copies(column));
    if is_rebuild && loses {
        document.replayed = Replayed::WhereEmpty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::db::dialect::{MySql, Sqlite};

    fn described(statements: &[&str], dialect: &dyn Dialect, before: &[&str]) -> Vec<StepDocument> {
        let step = |sql: &&str| Step { sql: (*sql).to_owned(), later: None };
        let steps: Vec<Step> = statements.iter().map(step).collect();
        let before: Objects = before.iter().map(|object| ((*object).to_owned(), "text".to_owned())).collect();
        describe(&steps, dialect, &before, None)
    }

    #[test]
    fn a_statement_tells_what_it_makes_and_takes_away() {
        let before = ["index widgets.ix.widgets.name"];
        let statements = [
            (
                "CREATE TABLE \"w\" (\n    \"id\" TEXT NOT NULL,\n    PRIMARY KEY (\"id\")\n)",
                "table w, column w.id",
                "",
            ),
            ("ALTER TABLE \"w\" ADD COLUMN \"a\" TEXT DEFAULT 'x \"y\"'", "column w.a", ""),
            ("ALTER TABLE \"w\" RENAME TO \"v\"", "table v", "table w"),
            ("ALTER TABLE \"w\" RENAME COLUMN \"a\" TO \"b\"", "column w.b", "column w.a"),
            ("CREATE UNIQUE INDEX \"uq.w.a\" ON \"w\" (\"a\") WHERE \"deleted_at\" IS NULL", "index w.uq.w.a", ""),
            ("CREATE INDEX CONCURRENTLY IF NOT EXISTS \"ix.w.a\" ON \"w\" (\"a\", \"id\")", "index w.ix.w.a", ""),
            ("DROP INDEX \"ix.widgets.name\"", "", "index widgets.ix.widgets.name"),
            (
                "ALTER TABLE \"w\" ADD CONSTRAINT \"fk.w.a\" FOREIGN KEY (\"a\") REFERENCES \"v\" (\"id\")",
                "foreign key w.fk.w.a",
                "",
            ),
            ("ALTER TABLE \"w\" ADD CONSTRAINT \"ck.w.a\" CHECK (\"a\" > 3)", "check w.ck.w.a", ""),
            ("ALTER TABLE \"w\" DROP CONSTRAINT \"ck.w.a\"", "", "foreign key w.ck.w.a, check w.ck.w.a"),
        ];
        for (statement, makes, removes) in statements {
            let [step] = &described(&[statement], &Sqlite, &before)[..] else { panic!("one step: {statement}") };
            let mut made: Vec<&str> = step.makes.keys().map(String::as_str).collect();
            made.sort_by_key(|object| !object.starts_with("table"));
            assert_eq!((made.join(", ").as_str(), step.removes.join(", ").as_str()), (makes, removes), "{statement}");
            assert_eq!(step.replayed, Replayed::WhereMissing, "{statement}");
        }
    }

    #[test]
    fn what_loses_data_is_replayed_where_there_is_none_and_what_is_unknown_where_nothing_differs() {
        let replayed = |statement: &str| described(&[statement], &MySql, &[])[0].replayed;
        assert_eq!(replayed("DROP TABLE `w`"), Replayed::WhereEmpty);
        assert_eq!(replayed("ALTER TABLE `w` DROP COLUMN `a`"), Replayed::WhereEmpty);
        assert_eq!(replayed("ALTER TABLE `w` MODIFY COLUMN `a` BIGINT NOT NULL"), Replayed::WhereUnchanged);
        assert_eq!(replayed("UPDATE `w` SET `a` = 3"), Replayed::WhereUnchanged);
        let register = "REPLACE INTO `kernel_declared` (`name`, `definition`) VALUES ('w', '{}')";
        assert_eq!(replayed(register), Replayed::Always);
    }

    /// Promise: R-13
    #[test]
    fn a_table_that_is_made_anew_is_one_step_and_says_whether_data_goes() {
        let rebuild = |copied: &str| {
            let insert = format!("INSERT INTO \"kernel_rebuild\" ({copied}) SELECT {copied} FROM \"w\"");
            let statements = [
                "CREATE TABLE \"kernel_rebuild\" (\n    \"id\" TEXT,\n    \"a\" INTEGER\n)",
                &insert,
                "DROP TABLE \"w\"",
                "PRAGMA legacy_alter_table = ON",
                "ALTER TABLE \"kernel_rebuild\" RENAME TO \"w\"",
                "PRAGMA legacy_alter_table = OFF",
                "CREATE INDEX \"ix.w.a\" ON \"w\" (\"a\", \"id\")",
                "CREATE INDEX \"ix.v.a\" ON \"v\" (\"a\", \"id\")",
            ];
            described(&statements, &Sqlite, &["table w", "column w.id", "column w.a"])
        };
        let steps = rebuild("\"id\", \"a\"");
        let told: Vec<_> =
            steps.iter().map(|step| (step.table.as_str(), step.statements.len(), step.replayed)).collect();
        assert_eq!(told, [("w", 7, Replayed::WhereUnchanged), ("v", 1, Replayed::WhereMissing)]);
        assert_eq!(steps[0].makes.keys().collect::<Vec<_>>(), ["column w.a", "column w.id"]);
        assert_eq!(rebuild("\"id\"")[0].replayed, Replayed::WhereEmpty);
    }

    #[test]
    fn an_index_moves_with_its_table_before_it_is_dropped() {
        let statements = ["ALTER TABLE \"w\" RENAME TO \"v\"", "DROP INDEX \"ix.w.a\""];
        let steps = described(&statements, &Sqlite, &["table w", "index w.ix.w.a"]);
        assert_eq!((steps[1].table.as_str(), &steps[1].removes[..]), ("v", &["index v.ix.w.a".to_owned()][..]));
    }

    #[test]
    fn a_column_that_takes_the_place_of_another_comes_in_one_step() {
        let statements = [
            "ALTER TABLE `w` ADD COLUMN `a_new_` BIGINT",
            "UPDATE `w` SET `a_new_` = CAST(`a` AS SIGNED)",
            "ALTER TABLE `w` DROP COLUMN `a`, CHANGE COLUMN `a_new_` `a` BIGINT NOT NULL",
            "ALTER TABLE `w` ADD COLUMN `b` BIGINT",
        ];
        let steps = described(&statements, &MySql, &["table w", "column w.a"]);
        let told: Vec<_> = steps.iter().map(|step| (step.statements.len(), step.replayed)).collect();
        assert_eq!(told, [(3, Replayed::WhereUnchanged), (1, Replayed::WhereMissing)]);
        assert_eq!(steps[0].makes.keys().collect::<Vec<_>>(), ["column w.a"]);
    }
}
