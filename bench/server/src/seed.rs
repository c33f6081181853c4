//! The rows that are measured: row `i` has the id `00000000-0000-7000-8000-<i in 12 hex digits>` and belongs to
//! `owner-<i % (rows / 100)>`, so that each owner has 100. Each has its first version, as if it had been saved.

use app_kernel::prelude::*;
use app_kernel::store::db::Backend;
use app_kernel::store::db::value::Value;

/// Rows written by one statement.
const AT_ONCE: usize = 500;
const CREATED_AT: &str = "2026-01-01T00:00:00Z";

/// How many rows the command line asks for: `seed 100000`.
pub(crate) fn wanted_rows() -> Option<usize> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != "seed" {
        return None;
    }
    Some(arguments.next().and_then(|rows| rows.parse().ok()).unwrap_or(100_000))
}

/// Makes the tables, and the rows where there are none.
#[tokio::main]
pub(crate) async fn run(service: Service, rows: usize) -> Result<()> {
    let started = service.start().await?;
    let db = started.kernel().db()?;
    if db.count_entities("widgets").await? == 0 {
        let created_at: Timestamp =
            CREATED_AT.parse().map_err(|cause| Error::internal("the time is a constant").cause(cause))?;
        let widgets = db.transaction(async |tx| {
            for first in (0..rows).step_by(AT_ONCE) {
                write(&tx, first..(first + AT_ONCE).min(rows), rows, created_at).await?;
            }
            tx.count_entities("widgets").await
        });
        println!("{} widgets", widgets.await?);
        tell_the_planner(&db).await?;
    }
    db.close().await;
    Ok(())
}

async fn write(tx: &Db, some: std::ops::Range<usize>, rows: usize, created_at: Timestamp) -> Result<()> {
    let places = |columns: usize| {
        let row = format!("({})", vec!["?"; columns].join(", "));
        vec![row; some.len()].join(", ")
    };
    let (mut widgets, mut versions): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for i in some.clone() {
        let id = format!("00000000-0000-7000-8000-{i:012x}");
        let (owner, name) = (format!("owner-{}", i % (rows / 100).max(1)), format!("widget {i}"));
        let (color, size, weight) = (["blue", "red", "green"][i % 3], (i % 1000) as i64, (i % 997) as f64 * 1.25);
        let data = serde_json::json!({
            "id": id, "owner_id": owner, "name": name, "color": color, "size": size, "weight": weight,
            "created_at": CREATED_AT, "updated_at": CREATED_AT, "deleted_at": null, "version": 1,
        });
        versions.extend([id.as_str().into(), 1.into(), "created".into(), created_at.into(), data.to_string().into()]);
        widgets.extend([id.into(), owner.into(), name.into(), color.into(), size.into(), weight.into()]);
        widgets.extend([created_at.into(), created_at.into(), 1.into()]);
    }
    let columns = "[id], [owner_id], [name], [color], [size], [weight], [created_at], [updated_at], [version]";
    tx.execute(format!("INSERT INTO [widgets] ({columns}) VALUES {}", places(9)), widgets).await?;
    let columns = "[id], [version], [operation], [recorded_at], [data]";
    tx.execute(format!("INSERT INTO [widgets_history] ({columns}) VALUES {}", places(5)), versions).await?;
    Ok(())
}

/// What a database does by itself after a while.
async fn tell_the_planner(db: &Db) -> Result<()> {
    let statement = match db.backend() {
        Backend::Sqlite => "ANALYZE",
        Backend::Postgres => "VACUUM ANALYZE",
        Backend::MySql => "ANALYZE TABLE [widgets], [widgets_history]",
    };
    db.execute(statement, ()).await?;
    Ok(())
}
