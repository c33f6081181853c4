//! Migrations that are killed before and after each of their statements, and those whose server is. The victim is this test binary itself,
//! started again to run one function, and it kills itself as nothing else would: by SIGKILL.

use std::process::{Command, Stdio};
#[cfg(target_os = "linux")]
use std::sync::Arc;

use app_kernel::base::secret::Secret;
use app_kernel::store::db::entity::{ColumnDef, EntityDef, ForeignKey};
use app_kernel::store::db::value::ColumnType;
use app_kernel::store::db::{Backend, Db, MigrationOptions, StatementHook};
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use crate::support::scale;
#[cfg(target_os = "linux")]
use crate::support::servers::Servers;

use super::{Rows, assert_settled, column, drops, entity, open_at, rows};

on_every_database!(a_migration_that_is_killed_at_any_statement_converges_at_the_next_start);

/// What a victim does: where, and before which statement it ends.
const WORK: &str = "APP_KERNEL_TEST_MIGRATION";

/// Kills in a small run, spread over the statements; `CHAOS_SCALE=5` kills before and after each.
const KILLS: usize = 5;

fn before() -> Vec<EntityDef> {
    vec![
        entity("people", vec![column("name", ColumnType::Text)]),
        entity(
            "notes",
            vec![
                ColumnDef { unique: true, ..column("title", ColumnType::Text) },
                ColumnDef { index: true, ..column("size", ColumnType::Int) },
                column("done", ColumnType::Bool),
                ColumnDef { nullable: true, ..column("owner", ColumnType::Text) },
                ColumnDef { default: Some("a".into()), ..column("kind", ColumnType::Text) },
                column("old", ColumnType::Int),
            ],
        ),
    ]
}

/// Twelve steps at least on each database, of every kind.
fn after() -> Vec<EntityDef> {
    let key = ForeignKey { table: "people".into(), column: "id".into() };
    let notes = entity(
        "pages",
        vec![
            ColumnDef { unique: true, renamed_from: Some("title".into()), ..column("name", ColumnType::Text) },
            ColumnDef { index: true, check: Some("[size] <> '13'".into()), ..column("size", ColumnType::Text) },
            column("done", ColumnType::Text),
            ColumnDef { foreign_key: Some(key), nullable: true, ..column("owner", ColumnType::Text) },
            ColumnDef { default: Some("b".into()), ..column("kind", ColumnType::Text) },
            ColumnDef { default: Some(0.5.into()), ..column("rating", ColumnType::Float) },
        ],
    );
    let people = ColumnDef { index: true, ..column("name", ColumnType::Text) };
    vec![
        entity("people", vec![people]),
        EntityDef { renamed_from: Some("notes".into()), ..notes },
        entity("tags", vec![column("tag", ColumnType::Text)]),
    ]
}

async fn open_after(url: &Secret, on_statement: Option<StatementHook>) -> Db {
    let options = MigrationOptions { allow_column_deletion: true, on_statement, ..MigrationOptions::default() };
    open_at(url, &after(), options).await
}

/// No test of its own: what a victim runs.
#[tokio::test]
async fn victim() {
    let Ok(work) = std::env::var(WORK) else { return };
    let (number, url) = work.split_once('|').expect("two things");
    let last: usize = number.parse().expect("a number");
    let hook = StatementHook::new(move |number, _| {
        if number == last {
            let pid = std::process::id().to_string();
            let killed = Command::new("kill").args(["-KILL", &pid]).status();
            panic!("not killed: {killed:?}");
        }
        Ok(())
    });
    open_after(&Secret::new(url), Some(hook)).await.migrate().await.expect("a migration");
}

/// Promise: R-12
async fn a_migration_that_is_killed_at_any_statement_converges_at_the_next_start(database: TestDatabase) {
    let (undisturbed, wanted) = (fill(database.url()).await, migrate(database.url()).await);
    assert!(undisturbed >= 12, "{undisturbed} statements");
    let kills = scale(KILLS).clamp(2, undisturbed + 1);
    for killed_at in (0..kills).map(|kill| kill * undisturbed / (kills - 1)) {
        assert_eq!(fill(database.url()).await, undisturbed);
        let mut victim = Command::new(std::env::current_exe().expect("a test binary"));
        victim.args(["--exact", "db::evolution::faults::victim"]);
        victim.env(WORK, format!("{killed_at}|{}", database.url().expose()));
        let ended = victim.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it starts");
        assert!(ended.code().is_none(), "it was to be killed at {killed_at}: {ended}");
        assert_eq!(migrate(database.url()).await, wanted, "killed at statement {killed_at}");
    }
    println!("R-12 held: {kills} kills in {undisturbed} statements, 0 rows lost, one schema");
}

/// Promise: R-12
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_whose_server_is_killed_at_any_statement_converges_at_the_next_start() {
    let Some(servers) = Servers::start(&[Backend::Postgres, Backend::MySql], None) else { return };
    let servers = Arc::new(servers);
    for backend in servers.backends() {
        let url = servers.database(backend, "shop").await;
        let (undisturbed, wanted) = (fill(&url).await, migrate(&url).await);
        let kills = scale(3).clamp(2, undisturbed + 1);
        for killed_at in (0..kills).map(|kill| kill * undisturbed / (kills - 1)) {
            assert_eq!(fill(&url).await, undisturbed);
            let killer = Arc::clone(&servers);
            let hook = StatementHook::new(move |number, _| {
                if number == killed_at {
                    killer.kill(backend);
                }
                Ok(())
            });
            let db = open_after(&url, Some(hook)).await;
            db.migrate().await.expect_err("its server is gone");
            db.close().await;
            servers.start_again(backend, &url).await;
            assert_eq!(migrate(&url).await, wanted, "{backend:?}, killed at statement {killed_at}");
        }
        println!(
            "R-12 held: {kills} kills of {} in {undisturbed} statements, 0 rows lost, one schema",
            backend.as_str()
        );
    }
}

/// Everything anew, with rows; answers how many statements lead on from there.
async fn fill(url: &Secret) -> usize {
    let db = open_at(url, &[], drops()).await;
    db.migrate().await.expect("all tables are dropped");
    db.close().await;
    let db = open_at(url, &before(), MigrationOptions::default()).await;
    db.migrate().await.expect("a migration");
    for i in 1..4 {
        let person = json!({ "id": format!("p{i}"), "name": format!("person {i}") });
        db.save_entity("people", person).await.expect("a save");
        let note = json!({
            "id": format!("n{i}"), "title": format!("note {i}"), "size": i, "done": i == 1, "owner": format!("p{i}"), "old": i,
        });
        db.save_entity("notes", note).await.expect("a save");
    }
    db.close().await;
    let db = open_after(url, None).await;
    let statements = db.plan_migration().await.expect("a plan").statements.len();
    db.close().await;
    statements
}

/// Migrates, and answers all that is there then: rows, and the schema in the catalogue's words.
async fn migrate(url: &Secret) -> (Vec<Rows>, Vec<String>) {
    let db = open_after(url, None).await;
    db.migrate().await.expect("the next start");
    assert_settled(&db).await;
    let mut all = Vec::new();
    for entity in ["people", "pages", "tags"] {
        let mut rows = rows(&db, entity).await;
        for row in rows.values_mut() {
            for time in ["created_at", "updated_at"] {
                row.as_object_mut().expect("an object").remove(time);
            }
        }
        all.push(rows);
    }
    let schema = schema(&db).await;
    db.close().await;
    (all, schema)
}

async fn schema(db: &Db) -> Vec<String> {
    let questions: &[&str] = match db.backend() {
        Backend::Sqlite => &["SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' ORDER BY name"],
        Backend::Postgres => &[
            "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns \
             WHERE table_schema = current_schema() ORDER BY 1, 2",
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1",
            "SELECT conname, pg_get_constraintdef(oid) AS def FROM pg_constraint WHERE connamespace = current_schema()::regnamespace ORDER BY 1, 2",
        ],
        Backend::MySql => &[
            "SELECT table_name AS t, column_name AS c, column_type AS ty, is_nullable AS n, column_default AS d \
             FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY 1, 2",
            "SELECT table_name AS t, index_name AS i, non_unique AS u, seq_in_index AS s, column_name AS c \
             FROM information_schema.statistics WHERE table_schema = DATABASE() ORDER BY 1, 2, 4",
            "SELECT table_name AS t, constraint_name AS c, constraint_type AS k FROM information_schema.table_constraints \
             WHERE table_schema = DATABASE() ORDER BY 1, 2",
        ],
    };
    let mut found = Vec::new();
    for question in questions {
        let rows = db.query(*question, ()).await.expect("a query");
        found.extend(rows.iter().map(|row| format!("{:?}", row.iter().collect::<Vec<_>>())));
    }
    found
}
