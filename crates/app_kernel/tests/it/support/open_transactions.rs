//! Transactions that nobody ends: what a caller who goes away must not leave.

use std::time::Duration;

use app_kernel::store::db::{Backend, Db};

/// How many transactions stay open on the server. What was under way when its caller left may take a moment to end on its own.
pub(crate) async fn open_transactions(db: &Db) -> i64 {
    let mut open = open_now(db).await;
    for _ in 0..40 {
        if open == 0 {
            break;
        }
        // InnoDB makes its account of transactions anew only when nobody has read it for 0.1 s: who asks more often is told the past.
        tokio::time::sleep(Duration::from_millis(250)).await;
        open = open_now(db).await;
    }
    open
}

/// How many transactions other than this query's own are open now. SQLite has its one writer: that others can write shows that it is free.
async fn open_now(db: &Db) -> i64 {
    let sql = match db.backend() {
        Backend::Sqlite => return 0,
        Backend::Postgres => {
            "SELECT COUNT(*) AS [n] FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
             AND (state LIKE 'idle in transaction%' OR xact_start IS NOT NULL AND state = 'active' AND query NOT LIKE '%pg_stat_activity%')"
        }
        Backend::MySql => {
            "SELECT COUNT(*) AS [n] FROM information_schema.innodb_trx t JOIN information_schema.processlist p \
             ON p.id = t.trx_mysql_thread_id WHERE p.db = DATABASE() AND p.id <> CONNECTION_ID()"
        }
    };
    db.query(sql, ()).await.expect("a query")[0]["n"].as_int().expect("a number")
}
