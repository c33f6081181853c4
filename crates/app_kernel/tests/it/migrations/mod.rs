//! Migrations as files: written, committed, replayed elsewhere; on every database.

mod branches;
mod command;
mod crash;
mod refusals;
mod replaying;
mod writing;

use std::path::{Path, PathBuf};

use app_kernel::base::clock::Clock;
use app_kernel::base::error::Result;
use app_kernel::store::db::entity::EntityDef;
use app_kernel::store::db::value::Value;
use app_kernel::store::db::{Backend, Db, DbOptions, Migration, MigrationFiles, MigrationOptions};
use app_kernel::testing::TestDatabase;

/// Somebody's checkout: a folder of migrations, beside which a database lies.
pub(crate) struct Checkout {
    root: tempfile::TempDir,
    clock: Clock,
}

impl Checkout {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("the temporary folder can be written");
        Checkout { root, clock: Clock::manual("2026-01-30T12:00:00Z".parse().expect("a time")) }
    }

    /// The same files elsewhere.
    pub(crate) fn cloned(&self) -> Self {
        let other = Checkout { clock: self.clock.clone(), ..Checkout::new() };
        other.pull(self);
        other
    }

    /// Takes over the files of another one, as a merge does.
    pub(crate) fn pull(&self, other: &Checkout) {
        std::fs::create_dir_all(self.folder()).expect("a folder");
        for name in other.names() {
            std::fs::copy(other.folder().join(&name), self.folder().join(&name)).expect("a copy");
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.path().join(".data")
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.data().join("migrations_audit")
    }

    pub(crate) fn options(&self) -> DbOptions {
        let files = MigrationFiles { service: "shop".to_owned(), folder: self.folder(), data_dir: self.data() };
        let migrations = MigrationOptions { files: Some(files), ..MigrationOptions::default() };
        DbOptions { migrations, clock: self.clock.clone(), ..DbOptions::default() }
    }

    /// Starts with this code on this database.
    pub(crate) async fn start(&self, database: &TestDatabase, entities: &[&EntityDef]) -> Result<Migration> {
        let db = Db::open(database.url(), entities, self.options()).await?;
        let migrated = db.migrate().await;
        db.close().await;
        migrated
    }

    /// The same, where it must do.
    #[track_caller]
    pub(crate) fn started(&self, database: &TestDatabase, entities: &[&EntityDef]) -> impl Future<Output = Migration> {
        let start = self.start(database, entities);
        async { start.await.expect("a migration") }
    }

    /// The names of all files, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        names(&self.folder())
    }

    /// The migrations, in order.
    pub(crate) fn migrations(&self) -> Vec<String> {
        self.names().iter().filter_map(|name| name.strip_suffix(".sql")).map(str::to_owned).collect()
    }

    pub(crate) fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.folder().join(format!("{name}.{ending}"))
    }

    pub(crate) fn read(&self, name: &str, ending: &str) -> String {
        std::fs::read_to_string(self.path(name, ending)).expect("a file of a migration")
    }
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// All that the catalogue says of the schema, one line each; columns by name, because their order depends on the past.
pub(crate) async fn catalogue(database: &TestDatabase) -> Vec<String> {
    let queries: &[&str] = match database.backend() {
        Backend::Sqlite => &[
            "SELECT m.name || '.' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || coalesce(c.dflt_value, '') || ' ' || c.pk AS line \
             FROM sqlite_schema m JOIN pragma_table_xinfo(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite!_stat%' ESCAPE '!'",
            "SELECT name || ' ' || coalesce(sql, '') AS line FROM sqlite_schema WHERE type <> 'table'",
            "SELECT m.name || ' ' || k.\"from\" || ' ' || k.\"table\" AS line FROM sqlite_schema m JOIN pragma_foreign_key_list(m.name) k",
        ],
        Backend::Postgres => &[
            "SELECT concat_ws(' ', table_name, column_name, data_type, collation_name, is_nullable, column_default, is_identity)::text AS line \
             FROM information_schema.columns WHERE table_schema = current_schema()",
            "SELECT indexdef::text AS line FROM pg_indexes WHERE schemaname = current_schema()",
            "SELECT (conname || ' ' || pg_get_constraintdef(oid))::text AS line FROM pg_constraint WHERE connamespace = current_schema()::regnamespace",
        ],
        Backend::MySql => &[
            "SELECT CAST(CONCAT_WS(' ', table_name, column_name, column_type, collation_name, is_nullable, column_default, extra, column_comment) AS CHAR) AS line \
             FROM information_schema.columns WHERE table_schema = DATABASE()",
            "SELECT CAST(CONCAT_WS(' ', table_name, index_name, non_unique, seq_in_index, column_name) AS CHAR) AS line \
             FROM information_schema.statistics WHERE table_schema = DATABASE()",
            "SELECT CAST(CONCAT_WS(' ', table_name, constraint_name, constraint_type) AS CHAR) AS line \
             FROM information_schema.table_constraints WHERE table_schema = DATABASE()",
        ],
    };
    let db = Db::open(database.url(), &[], DbOptions::default()).await.expect("the database opens");
    let mut lines = Vec::new();
    for query in queries {
        let rows = db.query(query, ()).await.expect("a query");
        lines.extend(rows.iter().map(|row| row["line"].as_str().unwrap_or_default().to_owned()));
    }
    db.close().await;
    lines.sort();
    lines
}

/// The columns of `kernel_migrations`, one row each.
pub(crate) async fn records(database: &TestDatabase, columns: &str) -> Vec<Vec<String>> {
    let db = Db::open(database.url(), &[], DbOptions::default()).await.expect("the database opens");
    let rows =
        db.query(format!("SELECT {columns} FROM [kernel_migrations] ORDER BY [seq]"), ()).await.expect("a query");
    db.close().await;
    let text = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        Value::Null => "null".to_owned(),
        other => format!("{other:?}"),
    };
    rows.iter().map(|row| row.iter().map(|(_, value)| text(value)).collect()).collect()
}

/// The same entity as it changes over time.
pub(crate) mod project {
    use app_kernel::store::db::entity::Entity;

    pub(crate) mod first {
        #[derive(Debug, super::Entity)]
        #[entity(table = "projects")]
        pub(crate) struct Project {
            pub(crate) name: String,
        }
    }

    pub(crate) mod with_size {
        #[derive(Debug, super::Entity)]
        #[entity(table = "projects")]
        pub(crate) struct Project {
            pub(crate) name: String,
            #[entity(default = 3, index)]
            pub(crate) size: i64,
        }
    }

    pub(crate) mod with_color {
        #[derive(Debug, super::Entity)]
        #[entity(table = "projects")]
        pub(crate) struct Project {
            pub(crate) name: String,
            pub(crate) color: Option<String>,
        }
    }

    pub(crate) mod with_both {
        #[derive(Debug, super::Entity)]
        #[entity(table = "projects")]
        pub(crate) struct Project {
            pub(crate) name: String,
            #[entity(default = 3, index)]
            pub(crate) size: i64,
            pub(crate) color: Option<String>,
        }
    }

    pub(crate) mod with_size_in_words {
        #[derive(Debug, super::Entity)]
        #[entity(table = "projects")]
        pub(crate) struct Project {
            pub(crate) name: String,
            pub(crate) size: Option<String>,
        }
    }

    pub(crate) mod renamed {
        #[derive(Debug, super::Entity)]
        #[entity(table = "plans", renamed_from = "projects")]
        pub(crate) struct Plan {
            #[entity(unique, renamed_from = "name")]
            pub(crate) title: String,
            #[entity(default = 3, index)]
            pub(crate) size: i64,
        }
    }

    /// As the code may be once everybody has renamed.
    pub(crate) mod long_renamed {
        #[derive(Debug, super::Entity)]
        #[entity(table = "plans")]
        pub(crate) struct Plan {
            #[entity(unique)]
            pub(crate) title: String,
            #[entity(default = 3, index)]
            pub(crate) size: i64,
        }
    }
}
