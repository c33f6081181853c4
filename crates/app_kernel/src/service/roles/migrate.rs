//! The command `migrate`: SQL on stdout, what there is to say about it on stderr; with `--json`, one object on stdout that says it all.

use std::io::{IsTerminal, Write as _};

use serde_json::{Value as Json, json};

use super::super::{Service, database};
use super::{bring_up, say};
use crate::base::config::wants_no_colour;
use crate::base::error::{Error, Result};
use crate::store::db::start::{BringUp, StartBackup};
use crate::store::db::{Finding, Migration, MigrationPlan, ReplayPlan, Severity};

const NOTHING_TO_DO: &str = "-- nothing to do: the database has the schema of the code\n";

/// Says what a migration would do. An error where it would be refused.
pub(super) async fn plan(service: Service, as_json: bool) -> Result<()> {
    let planned = match database::open_to_look(&service).await {
        Ok(db) => {
            let planned = db.plan_migration().await;
            db.close().await;
            planned
        }
        Err(error) => Err(error),
    };
    let plan = match planned {
        Ok(plan) => plan,
        Err(error) if as_json => {
            say_json(&json_of_error(&error))?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let refusal = plan.refusal();
    if as_json {
        say_json(&json_of_plan(&plan))?;
    } else {
        remark(&remarks(&plan.findings, has_colours(&std::io::stderr())));
        if refusal.is_none() {
            say(&sql_of_plan(&plan, has_colours(&std::io::stdout())))?;
        }
    }
    refusal.map_or(Ok(()), Err)
}

/// Brings the schema up to date, and says what that took.
pub(super) async fn migrate(service: Service, as_json: bool) -> Result<()> {
    let db = database::open_for_command(&service).await?;
    let how = BringUp { migrate: true, ..database::how(&service.config, StartBackup::BeforeMigration) };
    let migrated = bring_up(&db, &how).await;
    db.close().await;
    let migration = match migrated {
        Ok(migration) => migration,
        Err(error) if as_json => {
            say_json(&json_of_error(&error))?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    if as_json {
        return say_json(&json_of_migration(&migration));
    }
    let colours = has_colours(&std::io::stderr());
    remark(&(remarks(&migration.findings, colours) + &summary(&migration)));
    say(&if migration.statements.is_empty() {
        NOTHING_TO_DO.to_owned()
    } else {
        statements_text(&migration.statements, has_colours(&std::io::stdout()))
    })
}

fn has_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && !wants_no_colour()
}

/// A stderr that is gone is no failure.
fn remark(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn say_json(json: &Json) -> Result<()> {
    say(&format!("{json:#}\n"))
}

fn json_of_plan(plan: &MigrationPlan) -> Json {
    let MigrationPlan { replays, statements, findings } = plan;
    json!({ "refused": plan.is_refused(), "replays": replays, "statements": statements, "findings": findings })
}

fn json_of_migration(migration: &Migration) -> Json {
    let Migration { statements, findings, replayed, files, duration } = migration;
    let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    json!({
        "refused": false,
        "replayed": replayed,
        "statements": statements,
        "findings": findings,
        "files": files,
        "duration_ms": duration_ms,
    })
}

fn json_of_error(error: &Error) -> Json {
    let finding =
        json!({ "severity": "refused", "table": "", "column": null, "what": error.to_string(), "cure": null });
    json!({ "refused": true, "replays": [], "statements": [], "findings": [finding] })
}

fn sql_of_plan(plan: &MigrationPlan, colours: bool) -> String {
    if plan.is_empty() {
        return NOTHING_TO_DO.to_owned();
    }
    let mut text = String::new();
    for ReplayPlan { name, statements } in &plan.replays {
        text.push_str(&paint(DIM, &format!("-- replayed from {name}.sql"), colours));
        text.push('\n');
        text.push_str(&statements_text(statements, colours));
    }
    if !(plan.replays.is_empty() || plan.statements.is_empty()) {
        text.push_str(&paint(DIM, "-- planned beyond the files", colours));
        text.push('\n');
    }
    text + &statements_text(&plan.statements, colours)
}

const DIM: &str = "2";
const RED: &str = "1;31";
const YELLOW: &str = "33";
const CYAN: &str = "36";

fn paint(code: &str, text: &str, colours: bool) -> String {
    if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// One statement a paragraph of its own, its verb in colour: what takes something away in red.
fn statements_text(statements: &[String], colours: bool) -> String {
    let text = |statement: &String| {
        let end = statement.find(['"', '`', '\'']).unwrap_or(statement.len());
        let (verb, rest) = statement.split_at(statement[..end].trim_end().len());
        let code = if verb.starts_with("DROP") || verb.starts_with("DELETE") { RED } else { CYAN };
        format!("{}{rest};\n", paint(code, verb, colours))
    };
    statements.iter().map(text).collect()
}

/// What there is to say, one line each; what refuses is said by the error.
fn remarks(findings: &[Finding], colours: bool) -> String {
    let line = |finding: &Finding| {
        let word = match finding.severity {
            Severity::Refused => return None,
            Severity::Warning => paint(YELLOW, "warning", colours),
            Severity::Note => paint(CYAN, "note", colours),
        };
        Some(format!("{word}: {finding}\n"))
    };
    findings.iter().filter_map(line).collect()
}

fn summary(migration: &Migration) -> String {
    let Migration { statements, replayed, files, duration, .. } = migration;
    let mut text: String = replayed.iter().map(|name| format!("replayed {name}\n")).collect();
    text.extend(files.iter().map(|file| format!("wrote {}\n", file.display())));
    if !statements.is_empty() {
        text.push_str(&format!("done: {} statements in {} ms\n", statements.len(), duration.as_millis()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> MigrationPlan {
        let finding = |severity, what: &str, cure: Option<&str>| Finding {
            severity,
            table: "notes".to_owned(),
            column: None,
            what: what.to_owned(),
            cure: cure.map(str::to_owned),
        };
        MigrationPlan {
            replays: vec![ReplayPlan {
                name: "20260130_120000_a1b2c3d4".to_owned(),
                statements: vec!["CREATE TABLE \"notes\" (\n    \"id\" TEXT\n)".to_owned()],
            }],
            statements: vec!["ALTER TABLE \"notes\" ADD COLUMN \"a\" TEXT".to_owned(), "DROP TABLE \"old\"".to_owned()],
            findings: vec![
                finding(Severity::Warning, "`old` is dropped, with its 3 rows", None),
                finding(Severity::Note, "`b` stays", Some("ALLOW_COLUMN_DELETION=true drops it")),
            ],
        }
    }

    #[test]
    fn a_plan_is_sql_that_can_be_piped() {
        assert_eq!(
            sql_of_plan(&plan(), false),
            "-- replayed from 20260130_120000_a1b2c3d4.sql\n\
             CREATE TABLE \"notes\" (\n    \"id\" TEXT\n);\n\
             -- planned beyond the files\n\
             ALTER TABLE \"notes\" ADD COLUMN \"a\" TEXT;\n\
             DROP TABLE \"old\";\n"
        );
        assert_eq!(sql_of_plan(&MigrationPlan::default(), true), NOTHING_TO_DO);
    }

    #[test]
    fn on_a_terminal_verbs_have_colours_and_what_goes_is_red() {
        assert_eq!(
            sql_of_plan(&plan(), true),
            "\x1b[2m-- replayed from 20260130_120000_a1b2c3d4.sql\x1b[0m\n\
             \x1b[36mCREATE TABLE\x1b[0m \"notes\" (\n    \"id\" TEXT\n);\n\
             \x1b[2m-- planned beyond the files\x1b[0m\n\
             \x1b[36mALTER TABLE\x1b[0m \"notes\" ADD COLUMN \"a\" TEXT;\n\
             \x1b[1;31mDROP TABLE\x1b[0m \"old\";\n"
        );
    }

    #[test]
    fn remarks_say_how_much_they_matter() {
        let findings = plan().findings;
        assert_eq!(
            remarks(&findings, false),
            "warning: `old` is dropped, with its 3 rows\nnote: `b` stays; ALLOW_COLUMN_DELETION=true drops it\n"
        );
        assert!(remarks(&findings, true).starts_with("\x1b[33mwarning\x1b[0m: `old`"));
    }

    #[test]
    fn the_object_for_machines_has_a_fixed_shape() {
        let wanted = json!({
            "refused": false,
            "replays": [{
                "name": "20260130_120000_a1b2c3d4",
                "statements": ["CREATE TABLE \"notes\" (\n    \"id\" TEXT\n)"],
            }],
            "statements": ["ALTER TABLE \"notes\" ADD COLUMN \"a\" TEXT", "DROP TABLE \"old\""],
            "findings": [
                { "severity": "warning", "table": "notes", "column": null, "what": "`old` is dropped, with its 3 rows", "cure": null },
                {
                    "severity": "note",
                    "table": "notes",
                    "column": null,
                    "what": "`b` stays",
                    "cure": "ALLOW_COLUMN_DELETION=true drops it",
                },
            ],
        });
        assert_eq!(json_of_plan(&plan()), wanted);
        let error = json_of_error(&Error::invalid("no way"));
        assert_eq!((&error["refused"], &error["findings"][0]["what"]), (&json!(true), &json!("no way")));
    }
}
