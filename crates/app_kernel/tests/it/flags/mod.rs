//! Feature flags: asked by handlers, set by admins, the same in all processes a moment later.

mod over_http;
mod real;

use std::time::{Duration, Instant};

use app_kernel::feature::audit::get_audit_logs;
use app_kernel::feature::flags::{BELIEVED, Flag, Variant, delete_flag, list_flags};
use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, TestRedis, TestService, on_every_database};
use serde_json::json;

use crate::support::people::admin;

on_every_database!(
    a_flag_is_set_changed_in_part_and_asked_for,
    changes_at_once_all_hold,
    a_change_in_another_process_holds_within_two_seconds,
    a_change_calls_the_other_processes_by_redis,
    a_change_that_is_undone_never_was,
    who_turned_what_on_is_in_the_history_and_in_the_audit
);

fn dashboard(config: ServiceConfig) -> Service {
    Service::new("dashboard", config).api_keys(["flags:evaluate"])
}

async fn start(database: TestDatabase) -> TestService {
    TestService::start_on(database, dashboard).await
}

async fn has(service: &TestService, user: &str) -> bool {
    flag_enabled(service.kernel(), "new_dashboard").user(user).await.expect("an answer")
}

/// Promise: N1, N2
async fn a_flag_is_set_changed_in_part_and_asked_for(database: TestDatabase) {
    let service = start(database).await;
    let kernel = service.kernel();
    assert!(!has(&service, "user-456").await, "nobody set it");
    let set = set_flag(kernel, "new_dashboard").enabled(true).rollout_percent(0);
    let made = set.workspaces(["ws-123"]).users(["user-456"]).await.expect("a flag");
    assert_eq!((made.version, made.enabled, made.rollout_percent), (1, true, 0.0));
    assert!(has(&service, "user-456").await && !has(&service, "user-7").await);
    assert!(flag_enabled(kernel, "new_dashboard").user("user-7").workspace("ws-123").await.expect("an answer"));
    assert!(!flag_enabled(kernel, "new_dashboard").await.expect("an answer"), "nobody, nowhere");

    let changed = set_flag(kernel, "new_dashboard").rollout_percent(100).await.expect("a flag");
    assert_eq!(changed.entity, Flag { rollout_percent: 100.0, ..made.entity });
    assert!(has(&service, "user-7").await && flag_enabled(kernel, "new_dashboard").await.expect("an answer"));

    let variants = [Variant::new("small", 10, 0), Variant::new("large", 100, 1)];
    set_flag(kernel, "page_size").enabled(true).variants(variants, "small").await.expect("a flag");
    let said = evaluate_flag(kernel, "page_size").user("user-7").await.expect("an answer");
    assert_eq!((said.value_as::<u32>().expect("a number"), said.variant.as_str()), (100, "large"));
    set_flag(kernel, "page_size").enabled(false).await.expect("a flag");
    assert_eq!(evaluate_flag(kernel, "page_size").await.expect("an answer").value, json!(10));

    let refused = set_flag(kernel, "page_size").rollout_percent(101).await.expect_err("too much");
    assert_eq!(refused.field_errors()[0].pointer, "/rollout_percent");
    let names: Vec<String> =
        list_flags(&service.db()).await.expect("flags").into_iter().map(|flag| flag.entity.name).collect();
    assert_eq!(names, ["new_dashboard", "page_size"]);
    assert!(delete_flag(kernel, &service.db(), "new_dashboard").await.expect("an answer"));
    assert!(!delete_flag(kernel, &service.db(), "new_dashboard").await.expect("an answer"));
    assert!(!has(&service, "user-456").await);
    set_flag(kernel, "new_dashboard").enabled(true).await.expect("a name that is free again");
}

/// Promise: N2
async fn changes_at_once_all_hold(database: TestDatabase) {
    let service = start(database).await;
    let kernel = service.kernel();
    let (enabled, percent, users, about) = tokio::join!(
        set_flag(kernel, "beta").enabled(true).into_future(),
        set_flag(kernel, "beta").rollout_percent(30).into_future(),
        set_flag(kernel, "beta").users(["ann"]).into_future(),
        set_flag(kernel, "beta").description("a test").into_future(),
    );
    for saved in [enabled, percent, users, about] {
        saved.expect("a flag");
    }
    let flags = list_flags(&service.db()).await.expect("flags");
    let [flag] = &flags[..] else { panic!("one flag: {flags:?}") };
    assert_eq!((flag.enabled, flag.rollout_percent, flag.version), (true, 30.0, 4));
    assert_eq!((flag.users.as_slice(), flag.description.as_deref()), (["ann".to_owned()].as_slice(), Some("a test")));
}

/// Promise: N3
async fn a_change_in_another_process_holds_within_two_seconds(database: TestDatabase) {
    let here = start(database).await;
    let there = here.beside(dashboard).await;
    assert!(!has(&there, "ann").await);
    set_flag(here.kernel(), "new_dashboard").enabled(true).await.expect("a flag");
    let changed = Instant::now();
    assert!(has(&here, "ann").await, "at once where it was made");
    while !has(&there, "ann").await {
        // What it read before the change is believed so long, and not again after.
        assert!(changed.elapsed() < BELIEVED + Duration::from_secs(30), "it never hears of it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("N3 held: another process saw the change after {} ms", changed.elapsed().as_millis());
}

/// How soon another process sees a change. It has read all flags just before: without a call it would believe that for its whole time.
async fn soonest_of_some(here: &TestService, there: &TestService) -> Duration {
    let mut soonest = Duration::MAX;
    // It takes a moment until it listens, and a busy machine may be late.
    for round in 0..10 {
        let is_on = round % 2 == 0;
        tokio::time::sleep(BELIEVED).await;
        assert_eq!(has(there, "ann").await, !is_on);
        let changed = Instant::now();
        set_flag(here.kernel(), "new_dashboard").enabled(is_on).await.expect("a flag");
        while has(there, "ann").await != is_on {
            assert!(changed.elapsed() < BELIEVED + Duration::from_secs(30), "it never hears of it");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        soonest = soonest.min(changed.elapsed());
        if soonest < BELIEVED / 4 {
            break;
        }
    }
    soonest
}

/// Promise: N3
async fn a_change_calls_the_other_processes_by_redis(database: TestDatabase) {
    let Some(redis) = TestRedis::shared() else { return };
    let build = |config| dashboard(config).redis(redis.patient());
    let here = TestService::start_on(database, build).await;
    let there = here.beside(build).await;
    let soonest = soonest_of_some(&here, &there).await;
    assert!(soonest < BELIEVED / 2, "nobody called: {soonest:?}");
    println!("N3 held: another process was called by Redis and saw the change after {} ms", soonest.as_millis());
}

/// Promise: N3
#[tokio::test]
async fn a_change_calls_the_other_processes_by_postgres() {
    if std::env::var("DATABASES").is_ok_and(|list| !list.contains("postgres")) {
        return println!("deselected by DATABASES");
    }
    let here = start(TestDatabase::postgres().await).await;
    let there = here.beside(dashboard).await;
    let soonest = soonest_of_some(&here, &there).await;
    assert!(soonest < BELIEVED / 2, "nobody called: {soonest:?}");
    println!("N3 held: another process was called by PostgreSQL and saw the change after {} ms", soonest.as_millis());
}

/// Promise: N3
async fn a_change_that_is_undone_never_was(database: TestDatabase) {
    let service = start(database).await;
    let kernel = service.kernel();
    let db = service.db();
    let undone = db.transaction(async |tx| {
        set_flag(kernel, "new_dashboard").enabled(true).on(&tx).await?;
        Err::<(), _>(Error::conflict("on second thought"))
    });
    undone.await.expect_err("it was undone");
    assert!(!has(&service, "ann").await);
    let kept = db.transaction(async |tx| {
        set_flag(kernel, "new_dashboard").enabled(true).on(&tx).await?;
        // Whoever asks in the midst of it has what was before, and remembers it.
        assert!(!has(&service, "ann").await);
        Ok(())
    });
    kept.await.expect("it was kept");
    assert!(has(&service, "ann").await);
}

async fn who_turned_what_on_is_in_the_history_and_in_the_audit(database: TestDatabase) {
    let service = start(database).await;
    let root = admin(&service).await;
    let me = root.get("/auth/me").await.expect(200).id();
    root.put("/flags/beta", json!({ "enabled": true, "rollout_percent": 10 })).await.expect(200);
    root.patch("/flags/beta", json!({ "rollout_percent": 20 })).await.expect(200);
    let flag = list_flags(&service.db()).await.expect("flags").remove(0);
    let versions = service.db().history::<Flag>(&flag.id).await.expect("versions");
    assert!(versions.len() == 2 && versions.iter().all(|version| version.user_id.as_deref() == Some(me.as_str())));

    crate::audit::carried(&service.db()).await;
    let admin_db = service.kernel().admin_db().expect("an admin database");
    let entries = get_audit_logs(&admin_db).entity("kernel_flags").await.expect("entries").items;
    assert_eq!(entries[0].changes, Some(json!({ "rollout_percent": { "old": 10.0, "new": 20.0 } })));
    assert_eq!(entries[0].user_id.as_deref(), Some(me.as_str()));
}

#[tokio::test]
async fn flags_stay_as_they_were_while_the_database_is_away() {
    let service = start(TestDatabase::sqlite().await).await;
    set_flag(service.kernel(), "new_dashboard").enabled(true).await.expect("a flag");
    assert!(has(&service, "ann").await);
    service.db().close().await;
    tokio::time::sleep(BELIEVED).await;
    assert!(has(&service, "ann").await, "it is too old, and can't be read anew");
}
