//! Locks: one holder at a time, who knows when it is over.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use futures_util::future::join_all;

on_every_database!(
    one_has_it_and_the_numbers_grow,
    many_in_several_processes_come_one_after_another,
    whoever_loses_the_lease_is_told,
    a_lock_that_nobody_had_for_a_day_is_swept_out,
);

/// How long something may take. Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn service(config: ServiceConfig) -> Service {
    Service::new("locks", config)
}

async fn one_has_it_and_the_numbers_grow(database: TestDatabase) {
    let service = TestService::start_on(database, service).await;
    let kernel = service.kernel();
    let lock = kernel.lock("report");
    let first = lock.acquire().await.expect("nobody has it");
    assert!(first.is_held());
    assert!(lock.try_acquire().await.expect("an answer").is_none());
    let other = kernel.lock("another").try_acquire().await.expect("an answer").expect("another lock");
    assert_eq!(other.name(), "another");
    let waiting = lock.acquire();
    let number = first.fencing_token();
    let ((), second) = tokio::join!(first.release(), waiting);
    let second = second.expect("it is free");
    assert_eq!(second.fencing_token(), number + 1);
    drop(second);
    let third = tokio::time::timeout(PATIENCE, lock.acquire()).await.expect("dropped is released").expect("it is free");
    assert_eq!(third.fencing_token(), number + 2);
    assert_eq!(third.while_held(async { 7 }).await.expect("held"), 7);
    // Forgotten when nobody had it for long; the numbers grow on.
    third.release().await;
    service.db().execute("DELETE FROM [kernel_locks]", ()).await.expect("a sweep");
    service.advance(Duration::from_secs(24 * 3600));
    let later = lock.acquire().await.expect("nobody has it");
    assert!(later.fencing_token() > number + 2);
    for (name, ttl) in [("", 30), (&*"x".repeat(201), 30), ("a\nb", 30), ("a", 0), ("a", 4000)] {
        let refused = kernel.lock(name).ttl(Duration::from_secs(ttl)).acquire().await.expect_err("no lock");
        assert_eq!(refused.http_status(), 400, "{refused}");
    }
}

async fn many_in_several_processes_come_one_after_another(database: TestDatabase) {
    let first = TestService::start_on(database, service).await;
    let processes = [first.beside(service).await, first];
    let (inside, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let numbers = std::sync::Mutex::new(Vec::new());
    let work = |n: usize| {
        let (kernel, inside, most, done, numbers) = (processes[n % 2].kernel(), &inside, &most, &done, &numbers);
        async move {
            for _ in 0..5 {
                let guard = kernel.lock("one").acquire().await.expect("a lock");
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                numbers.lock().expect("not poisoned").push(guard.fencing_token());
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                done.fetch_add(1, Ordering::SeqCst);
                guard.release().await;
            }
        }
    };
    tokio::time::timeout(2 * PATIENCE, join_all((0..6).map(work))).await.expect("all come to it");
    assert_eq!((most.into_inner(), done.into_inner()), (1, 30));
    let numbers = numbers.into_inner().expect("not poisoned");
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

async fn whoever_loses_the_lease_is_told(database: TestDatabase) {
    let service = TestService::start_on(database, service).await;
    let lock = service.kernel().lock("report").ttl(Duration::from_secs(9));
    let held = lock.acquire().await.expect("nobody has it");
    // As if the holder had been stopped for longer than its lease lasts.
    let over = "UPDATE [kernel_locks] SET [worker_id] = NULL, [due_at] = ?";
    service.db().execute(over, [service.now() - Duration::from_secs(3600)]).await.expect("an update");
    let thief = lock.acquire().await.expect("the lease is over");
    assert!(thief.fencing_token() > held.fencing_token());
    let never = held.while_held(std::future::pending::<()>());
    let lost = tokio::time::timeout(PATIENCE, never).await.expect("it is told").expect_err("it is lost");
    assert_eq!((lost.error_code(), held.is_held()), ("lock_lost", false));
    // What the loser lets go is not the thief's.
    held.release().await;
    assert!(lock.try_acquire().await.expect("an answer").is_none());
    // The thief's own lease is renewed.
    let end = async || {
        service.db().query("SELECT [due_at] FROM [kernel_locks]", ()).await.expect("a row")[0]["due_at"].clone()
    };
    let (first, deadline) = (end().await, std::time::Instant::now() + PATIENCE);
    while end().await == first {
        assert!(std::time::Instant::now() < deadline, "it is not renewed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(thief.is_held());
}

/// A start sweeps, and then each hour.
async fn a_lock_that_nobody_had_for_a_day_is_swept_out(database: TestDatabase) {
    let first = TestService::start_on(database, service).await;
    for name in ["old", "recent", "held"] {
        first.kernel().lock(name).acquire().await.expect("nobody has it").release().await;
    }
    let held = first.kernel().lock("held").acquire().await.expect("nobody has it");
    let day_ago = first.now() - Duration::from_secs(24 * 3600 + 60);
    first.db().execute("UPDATE [kernel_locks] SET [due_at] = ? WHERE [id] = ?", (day_ago, "old")).await.expect("done");
    let names = async || {
        let rows = first.db().query("SELECT [id] FROM [kernel_locks] ORDER BY [id]", ()).await.expect("rows");
        rows.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["held", "old", "recent"]);
    let beside = first.beside(service).await;
    let swept = async {
        while names().await != ["held", "recent"] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, swept).await.expect("it is swept out");
    beside.stop().await;
    assert!(held.is_held());
}

#[tokio::test]
async fn without_a_database_there_are_no_locks() {
    let kernel = Kernel::new(ServiceConfig::default(), app_kernel::base::clock::Clock::system(), None);
    let error = kernel.lock("report").acquire().await.expect_err("no database");
    assert_eq!(error.http_status(), 503);
    assert!(error.message().contains("DATABASE_URL"), "{error}");
}
