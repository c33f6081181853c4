//! Writes and transactions end whole or not at all, whoever leaves.

use tokio::time::timeout;

use super::*;

on_both! {
    broken_constraints_are_named,
    an_update_counts_the_rows_it_matched,
    a_failed_write_leaves_nothing,
    statements_sent_together_are_kept_or_undone_together,
    a_swallowed_failure_cannot_be_committed,
    /// Promise: R-07
    a_write_whose_caller_left_runs_to_its_end,
    /// Promise: R-07
    callers_that_leave_at_any_moment_leave_nothing_open,
    /// Promise: R-07
    a_read_whose_caller_left_gives_its_connection_back,
    a_dropped_transaction_is_rolled_back,
    a_transaction_that_was_cut_off_cannot_be_committed,
    a_transaction_commits_what_it_was_told,
    a_deadlock_is_worth_another_try,
}

async fn broken_constraints_are_named(db: Database) {
    let driver = db.connect().await;
    let name = |name: &str| {
        let mut sql = String::new();
        driver.dialect().quote(name, &mut sql);
        sql
    };
    let id = driver.dialect().column_type(ColumnType::Text, true);
    for sql in [
        format!("CREATE TABLE owners (id {id} PRIMARY KEY)"),
        format!(
            "CREATE TABLE things (id {id} PRIMARY KEY, name {id} NOT NULL, n BIGINT, owner_id {id}, \
             CONSTRAINT {} CHECK (n > 0), CONSTRAINT {} FOREIGN KEY (owner_id) REFERENCES owners (id))",
            name("ck.things.n"),
            name("fk.things.owner_id")
        ),
        format!("CREATE UNIQUE INDEX {} ON things (name)", name("uq.things.name")),
        "INSERT INTO owners (id) VALUES ('ann')".to_owned(),
        "INSERT INTO things (id, name, n, owner_id) VALUES ('1', 'a', 1, 'ann')".to_owned(),
    ] {
        driver.read(Batch(sql)).await.expect("the tables");
    }
    let broken = async |sql: &'static str| match driver.write(Arc::new(Execute(sql, vec![]))).await {
        Err(DbError::Duplicate { constraint }) => format!("duplicate {constraint}"),
        Err(DbError::ForeignKey { constraint }) => format!("foreign key {constraint}"),
        Err(DbError::Check { constraint }) => format!("check {constraint}"),
        Err(DbError::NotNull { column }) => format!("not null {column}"),
        other => panic!("{sql}: {other:?}"),
    };
    let primary = if db.is_postgres() { "duplicate things.id" } else { "duplicate id" };
    let found = broken("INSERT INTO things (id, name) VALUES ('1', 'b')").await;
    assert!(found == primary || found == "duplicate things.id", "{found}");
    assert_eq!(broken("INSERT INTO things (id, name) VALUES ('2', 'a')").await, "duplicate uq.things.name");
    assert_eq!(
        broken("INSERT INTO things (id, name, owner_id) VALUES ('2', 'b', 'bob')").await,
        "foreign key fk.things.owner_id"
    );
    assert_eq!(broken("DELETE FROM owners").await, "foreign key fk.things.owner_id");
    assert_eq!(broken("INSERT INTO things (id, name, n) VALUES ('2', 'b', 0)").await, "check ck.things.n");
    assert_eq!(broken("INSERT INTO things (id, name) VALUES ('2', NULL)").await, "not null name");
    assert_eq!(broken("INSERT INTO things (id) VALUES ('2')").await, "not null name");
    driver.close().await;
}

async fn an_update_counts_the_rows_it_matched(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    write(&driver, vec![add("a"), add("b")]).await.expect("two rows");
    for _ in 0..2 {
        let same = Execute("UPDATE items SET n = 5 WHERE id IN (?, ?, ?)", vec!["a".into(), "b".into(), "c".into()]);
        assert_eq!(driver.write(Arc::new(same)).await.expect("an update"), 2);
    }
    driver.close().await;
}

async fn a_failed_write_leaves_nothing(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let outcome = write(&driver, vec![add("a"), add("b"), add("a")]).await;
    assert!(matches!(outcome, Err(DbError::Duplicate { .. })), "{outcome:?}");
    assert_eq!(items(&driver).await, 0);
    write(&driver, vec![add("a"), add("b")]).await.expect("the connection is good");
    assert_eq!(items(&driver).await, 2);
    driver.close().await;
}

async fn statements_sent_together_are_kept_or_undone_together(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let insert = |ids: [&str; 3]| {
        let ids = ids.map(Value::from).to_vec();
        driver.write(Arc::new(Together("INSERT INTO items (id, n) VALUES (?, 0)", ids)))
    };
    for twice in [["a", "a", "b"], ["a", "b", "b"]] {
        let outcome = insert(twice).await;
        assert!(
            matches!(&outcome, Err(DbError::Duplicate { constraint }) if constraint.ends_with("id")),
            "{outcome:?}"
        );
        assert_eq!(items(&driver).await, 0);
    }
    assert_eq!(insert(["a", "b", "c"]).await.expect("the connection is good"), 1);
    assert_eq!(items(&driver).await, 3);
    // In a transaction of somebody else they end nothing.
    let mut transaction = driver.begin().await.expect("a transaction");
    let touch = Together("UPDATE items SET n = n + 1 WHERE id = ?", ["a", "b"].map(Value::from).to_vec());
    assert_eq!(transaction.run(touch).await.expect("two rows"), 1);
    transaction.rollback().await;
    assert_eq!(number(&driver, "SELECT count(*) FROM items WHERE n > 0").await, 0);
    driver.close().await;
}

async fn a_swallowed_failure_cannot_be_committed(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let outcome = write(&driver, vec![add("a"), Step::TryAdd("a".into())]).await;
    assert!(matches!(outcome, Err(DbError::Other(_))), "{outcome:?}");
    let outcome = write(&driver, vec![add("a"), Step::TryAdd("a".into()), add("b")]).await;
    assert!(matches!(outcome, Err(DbError::Other(_))), "{outcome:?}");
    assert_eq!(items(&driver).await, 0);
    driver.close().await;
}

async fn a_write_whose_caller_left_runs_to_its_end(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let (here, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    {
        let half_way = write(&driver, vec![add("a"), Step::Gate(here.clone(), go.clone()), add("b")]);
        tokio::select! {
            _ = half_way => panic!("the gate is closed"),
            () = here.notified() => {}
        }
    }
    go.notify_one();
    // The one connection is free again only after the end.
    assert_eq!(items(&driver).await, 2);
    eventually(0, async || db.open_transactions(&driver).await).await;
    driver.close().await;
}

async fn callers_that_leave_at_any_moment_leave_nothing_open(db: Database) {
    let options = Options { pool_size: Some(4), connect_timeout: Duration::from_secs(30), ..Options::default() };
    let driver = db.with_items(&options).await;
    let work = (0..400_u64).map(|i| {
        let driver = &driver;
        async move {
            let write = write(driver, vec![add(format!("{i}-a")), add(format!("{i}-b"))]);
            // A fixed spread over the length of a write, in steps of 37 µs.
            drop(timeout(Duration::from_micros(i % 100 * 37), write).await);
            drop(timeout(Duration::from_micros(i % 50 * 31), items(driver)).await);
        }
    });
    for chunk in work.collect::<Vec<_>>().into_iter().array_chunks_of(20) {
        futures_util::future::join_all(chunk).await;
    }
    let watcher = db.connect().await;
    eventually(0, async || db.open_transactions(&watcher).await).await;
    let halves = "SELECT count(*) FROM items a WHERE NOT EXISTS (SELECT 1 FROM items b WHERE b.id <> a.id \
                  AND substring(b.id, 1, length(b.id) - 2) = substring(a.id, 1, length(a.id) - 2))";
    assert_eq!(number(&watcher, halves).await, 0);
    let all = futures_util::future::join_all((0..8).map(|_| items(&driver))).await;
    assert!(all.iter().all(|n| *n == all[0]), "{all:?}");
    watcher.close().await;
    driver.close().await;
}

/// Splits work into groups that run together.
trait ArrayChunks: Iterator + Sized {
    fn array_chunks_of(self, size: usize) -> impl Iterator<Item = Vec<Self::Item>>;
}

impl<I: Iterator> ArrayChunks for I {
    fn array_chunks_of(mut self, size: usize) -> impl Iterator<Item = Vec<Self::Item>> {
        std::iter::from_fn(move || {
            let chunk: Vec<_> = self.by_ref().take(size).collect();
            (!chunk.is_empty()).then_some(chunk)
        })
    }
}

async fn a_read_whose_caller_left_gives_its_connection_back(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let slow = if db.is_postgres() { "SELECT 1 FROM pg_sleep(0.2)" } else { "SELECT SLEEP(0.2)" };
    let read = driver.read(Any(slow.to_owned(), vec![]));
    assert!(timeout(Duration::from_millis(50), read).await.is_err(), "it takes longer");
    assert_eq!(items(&driver).await, 0);
    driver.close().await;
}

async fn a_dropped_transaction_is_rolled_back(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let mut transaction = driver.begin().await.expect("a transaction");
    transaction.run(Steps(vec![add("a")])).await.expect("a row");
    drop(transaction);
    // On the same connection, since there is only one.
    assert_eq!(items(&driver).await, 0);
    eventually(0, async || db.open_transactions(&driver).await).await;
    let transaction = driver.begin().await.expect("another");
    transaction.rollback().await;
    drop(driver.begin().await.expect("one that never did anything"));
    write(&driver, vec![add("a")]).await.expect("the connection is good");
    driver.close().await;
}

async fn a_transaction_that_was_cut_off_cannot_be_committed(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let (here, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut transaction = driver.begin().await.expect("a transaction");
    tokio::select! {
        _ = transaction.run(Steps(vec![add("a"), Step::Gate(here.clone(), go.clone())])) => panic!("the gate is closed"),
        () = here.notified() => {}
    }
    let outcome = transaction.run(Steps(vec![add("b")])).await;
    assert!(matches!(outcome, Err(DbError::Other(_))), "{outcome:?}");
    let outcome = transaction.commit().await;
    assert!(matches!(outcome, Err(DbError::Other(_))), "{outcome:?}");
    go.notify_one();
    assert_eq!(items(&driver).await, 0);
    driver.close().await;
}

async fn a_transaction_commits_what_it_was_told(db: Database) {
    let driver = db.with_items(&Options::default()).await;
    let mut transaction = driver.begin().await.expect("a transaction");
    transaction.run(Steps(vec![add("a")])).await.expect("a row");
    let inside = transaction.run(Any("SELECT count(*) FROM items".to_owned(), vec![])).await.expect("its own view");
    assert_eq!((inside[0][0].as_int(), items(&driver).await), (Some(1), 0));
    transaction.commit().await.expect("it lasts");
    assert_eq!(items(&driver).await, 1);

    let mut transaction = driver.begin().await.expect("a transaction");
    let outcome = transaction.run(Steps(vec![add("b"), add("a")])).await;
    assert!(matches!(outcome, Err(DbError::Duplicate { .. })), "{outcome:?}");
    let outcome = transaction.commit().await;
    assert!(matches!(outcome, Err(DbError::Other(_))), "{outcome:?}");
    assert_eq!(items(&driver).await, 1);
    driver.close().await;
}

async fn a_deadlock_is_worth_another_try(db: Database) {
    let driver = db.with_items(&Options::default()).await;
    write(&driver, vec![add("a"), add("b")]).await.expect("two rows");
    let here = [Arc::new(Notify::new()), Arc::new(Notify::new())];
    let go = [Arc::new(Notify::new()), Arc::new(Notify::new())];
    let crosswise = |i: usize, first, second| {
        write(&driver, vec![Step::Touch(first), Step::Gate(here[i].clone(), go[i].clone()), Step::Touch(second)])
    };
    let both_hold_one = async {
        here[0].notified().await;
        here[1].notified().await;
        go.iter().for_each(|go| go.notify_one());
    };
    let (one, two, ()) = tokio::join!(crosswise(0, "a", "b"), crosswise(1, "b", "a"), both_hold_one);
    let (won, lost) = if one.is_ok() { (one, two) } else { (two, one) };
    won.expect("one of them goes on");
    let error = lost.expect_err("the other was stopped");
    assert!(error.is_worth_a_retry(), "{error:?}");
    eventually(0, async || db.open_transactions(&driver).await).await;
    driver.close().await;
}
