//! Transactions: all or nothing, tried again after conflicts, never left open.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use app_kernel::base::error::{Error, ErrorKind, Result};
use app_kernel::store::db::Db;
use app_kernel::testing::{TestDatabase, on_every_database};

use super::{Widget, widget, widgets};
use crate::support::open_transactions::open_transactions;

on_every_database!(
    what_is_done_in_a_transaction_is_kept_together,
    an_error_undoes_everything,
    a_failed_statement_ends_the_transaction,
    reads_inside_see_writes_inside,
    a_transaction_within_joins,
    a_dropped_transaction_is_rolled_back_and_nothing_stays_open,
    a_dropped_save_is_whole_or_not_there,
    a_handle_kept_too_long_is_refused,
    deadlocks_are_tried_again,
    a_panic_undoes_everything,
);

/// What a handler does: borrow what it was given, in a future that can move between threads.
#[allow(dead_code, reason = "it is enough that it compiles")]
async fn a_transaction_can_stand_in_a_handler(db: Db, name: String, ids: Vec<String>) -> Result<i64> {
    db.transaction(async |tx| {
        let gear = tx.save(widget(&name)).await?;
        for id in ids.iter().chain([&gear.id]) {
            tx.delete::<Widget>(id).await?;
        }
        tx.count::<Widget>("[name] = ?", [&name]).await
    })
    .await
}

#[allow(dead_code, reason = "it is enough that it compiles")]
fn its_future_is_send(db: Db) -> impl Future<Output = Result<i64>> + Send {
    a_transaction_can_stand_in_a_handler(db, String::new(), Vec::new())
}

async fn count(db: &Db) -> i64 {
    db.count::<Widget>("", ()).await.expect("a count")
}

async fn what_is_done_in_a_transaction_is_kept_together(database: TestDatabase) {
    let db = widgets(&database).await;
    let (gear, cog) = db
        .transaction(async |tx| {
            let gear = tx.save(widget("gear")).await?;
            let cog = tx.save(widget("cog")).await?;
            tx.delete::<Widget>(&gear.id).await?;
            Ok((gear, cog))
        })
        .await
        .expect("a transaction");
    assert_eq!(db.get::<Widget>(&gear.id).await.expect("a read"), None);
    assert_eq!(db.get::<Widget>(&cog.id).await.expect("a read").expect("it is there"), cog);
    assert_eq!(db.history::<Widget>(&gear.id).await.expect("a history").len(), 2);
}

async fn an_error_undoes_everything(database: TestDatabase) {
    let db = widgets(&database).await;
    let error = db
        .transaction(async |tx| {
            tx.save(widget("gear")).await?;
            tx.execute("DELETE FROM [kernel_migrations]", ()).await?;
            Err::<(), Error>(Error::forbidden("changed my mind"))
        })
        .await
        .expect_err("the work failed");
    assert_eq!((error.kind(), error.message()), (ErrorKind::Forbidden, "changed my mind"));
    assert_eq!(count(&db).await, 0);
    assert_eq!(db.query("SELECT * FROM [widgets_history]", ()).await.expect("a query"), []);
    assert_eq!(db.query("SELECT * FROM [kernel_changes]", ()).await.expect("a query"), []);
    assert_eq!(db.query("SELECT * FROM [kernel_migrations]", ()).await.expect("a query").len(), 1);
}

async fn a_failed_statement_ends_the_transaction(database: TestDatabase) {
    let db = widgets(&database).await;
    db.save(widget("gear")).await.expect("a save");
    let error = db
        .transaction(async |tx| {
            tx.save(widget("cog")).await?;
            let duplicate = tx.save(widget("gear")).await.expect_err("the name is taken");
            assert_eq!(duplicate.error_code(), "duplicate");
            // The error is swallowed; the transaction is over all the same, on every database.
            tx.save(widget("axle")).await.map(drop).or(Ok(()))
        })
        .await
        .expect_err("it can't be committed");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(count(&db).await, 1);
    // A refusal before any statement leaves the transaction whole.
    db.transaction(async |tx| {
        tx.find::<Widget>("[colour] = 1", ()).await.expect_err("no such column");
        tx.save(widget("cog")).await.map(drop)
    })
    .await
    .expect("a transaction");
    assert_eq!(count(&db).await, 2);
}

async fn reads_inside_see_writes_inside(database: TestDatabase) {
    let db = widgets(&database).await;
    db.transaction(async |tx| {
        let gear = tx.save(widget("gear")).await?;
        assert_eq!(count(&tx).await, 1);
        assert!(tx.get::<Widget>(&gear.id).await?.is_some());
        assert_eq!(count(&db).await, 0, "nobody else sees it yet");
        Ok(())
    })
    .await
    .expect("a transaction");
    assert_eq!(count(&db).await, 1);
}

async fn a_transaction_within_joins(database: TestDatabase) {
    let db = widgets(&database).await;
    let result = db
        .transaction(async |tx| {
            tx.transaction(async |inner| inner.save(widget("gear")).await).await?;
            Err::<(), Error>(Error::conflict("no"))
        })
        .await;
    assert!(result.is_err());
    assert_eq!(count(&db).await, 0);
}

/// Promise: R-07
async fn a_dropped_transaction_is_rolled_back_and_nothing_stays_open(database: TestDatabase) {
    let db = widgets(&database).await;
    for i in 0..30 {
        let work = db.transaction(async |tx| {
            tx.save(widget(&format!("lost {i}"))).await?;
            tx.save(widget(&format!("lost too {i}"))).await?;
            std::future::pending::<()>().await;
            Ok(())
        });
        // Dropped at some point of its way, as a request whose client leaves.
        let _ = tokio::time::timeout(Duration::from_micros(300 * i), work).await;
    }
    db.save(widget("kept")).await.expect("the database is free for others");
    assert_eq!(count(&db).await, 1);
    assert_eq!(open_transactions(&db).await, 0);
    assert_eq!(db.query("SELECT * FROM [kernel_changes]", ()).await.expect("a query").len(), 1);
}

/// Promise: R-07
async fn a_dropped_save_is_whole_or_not_there(database: TestDatabase) {
    let db = widgets(&database).await;
    for i in 0..60 {
        let save = db.save(widget(&format!("w{i}"))).id(format!("id-{i}"));
        let _ = tokio::time::timeout(Duration::from_micros(50 * i), save.into_future()).await;
    }
    db.save(widget("last")).await.expect("a save");
    assert_eq!(open_transactions(&db).await, 0);
    let rows = count(&db).await;
    let versions = db.query("SELECT * FROM [widgets_history]", ()).await.expect("a query").len();
    let changes = db.query("SELECT * FROM [kernel_changes]", ()).await.expect("a query").len();
    assert_eq!((versions as i64, changes as i64), (rows, rows));
}

async fn a_handle_kept_too_long_is_refused(database: TestDatabase) {
    let db = widgets(&database).await;
    let kept = db.transaction(async |tx| Ok(tx.clone())).await.expect("a transaction");
    let error = kept.save(widget("gear")).await.expect_err("the transaction has ended");
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(count(&db).await, 0);
}

async fn deadlocks_are_tried_again(database: TestDatabase) {
    const ROUNDS: i64 = 5;
    let db = widgets(&database).await;
    let (a, b) = (db.save(widget("a")).await.expect("a save"), db.save(widget("b")).await.expect("a save"));
    let tries = AtomicU32::new(0);
    // PostgreSQL takes a second to see that two wait for each other, so the rounds are few. Each takes the two rows in another order, so that some meet.
    let swap = async |first: &str, second: &str| {
        for _ in 0..ROUNDS {
            db.transaction(async |tx| {
                tries.fetch_add(1, Ordering::Relaxed);
                for id in [first, second] {
                    let row = serde_json::json!({ "id": id, "size": tries.load(Ordering::Relaxed) });
                    tx.save_entity("widgets", row).await?;
                    tokio::task::yield_now().await;
                }
                Ok(())
            })
            .await
            .expect("conflicts end");
        }
    };
    tokio::join!(swap(&a.id, &b.id), swap(&b.id, &a.id), swap(&b.id, &a.id));
    for id in [&a.id, &b.id] {
        assert_eq!(
            db.get::<Widget>(id).await.expect("a read").expect("it is there").version,
            1 + 3 * ROUNDS,
            "every save counted once"
        );
    }
}

async fn a_panic_undoes_everything(database: TestDatabase) {
    let db = widgets(&database).await;
    let twin = db.clone();
    let work = tokio::spawn(async move {
        twin.transaction(async |tx| {
            tx.save(widget("gear")).await?;
            assert!(count(&tx).await > 1, "a panic of the test's own");
            Ok(())
        })
        .await
    });
    assert!(work.await.expect_err("it panicked").is_panic());
    db.save(widget("cog")).await.expect("the database is free for others");
    assert_eq!(count(&db).await, 1);
}
