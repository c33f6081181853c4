//! How a database is doing, as numbers: its connections or queues, and SQLite's write-ahead log.

use super::driver::{Driver, Load};
use crate::base::metrics::Samples;

pub(super) fn tell(driver: &Driver, samples: &mut Samples, database: &str) {
    let labels = [("database", database)];
    match driver.load() {
        #[cfg(any(feature = "postgres", feature = "mysql"))]
        Load::Pool { most, open, idle, waiting, waits } => {
            let about = "Connections to the database, by what they do.";
            for (state, count) in [("idle", idle), ("used", open.saturating_sub(idle))] {
                let labels = [("database", database), ("state", state)];
                samples.gauge("app_kernel_db_connections", about, &labels, count as f64);
            }
            let about = "The most connections that there may be: DATABASE_POOL_SIZE.";
            samples.gauge("app_kernel_db_connections_max", about, &labels, most as f64);
            let about = "Operations that wait for a connection.";
            samples.gauge("app_kernel_db_waiting_operations", about, &labels, waiting as f64);
            let about = "How long operations wait for a connection, with opening or looking at it.";
            samples.histogram("app_kernel_db_connection_wait_seconds", about, &labels, &waits);
        }
        #[cfg(feature = "sqlite")]
        Load::Queues { reads, writes } => {
            let about = "Operations that wait for a thread of SQLite; the writer takes what waits in one commit.";
            for (thread, count) in [("reader", reads), ("writer", writes)] {
                let labels = [("database", database), ("thread", thread)];
                samples.gauge("app_kernel_sqlite_queued_operations", about, &labels, count as f64);
            }
        }
    }
    if let Some(bytes) = driver.log_bytes() {
        let about = "Length of SQLite's write-ahead log; it stays near 32 MiB, unless a read never ends.";
        samples.gauge("app_kernel_sqlite_log_bytes", about, &labels, bytes as f64);
    }
}
