//! Following changes in code.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use app_kernel::base::error::ErrorKind;
use app_kernel::feature::audit::{self, enable_audit, purge_audit_logs};
use app_kernel::prelude::*;
use app_kernel::store::db::DbOptions;
use app_kernel::store::db::feed::ChangeEvent;
use app_kernel::store::db::history::Operation;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use futures_util::future::join_all;
use serde_json::json;

use super::{Visit, Widget, change, event, shop, widget};
use crate::audit::carried;

on_every_database!(
    each_change_comes_once_and_in_order_however_many_write,
    a_change_tells_the_row_as_it_was_then_without_its_secrets,
    a_bounded_handle_hears_of_its_workspace_only,
    a_stream_that_can_not_keep_up_misses_nothing,
    what_was_purged_is_told_to_be_missing,
    rows_without_a_struct_are_followed_too,
    what_can_not_be_followed_is_refused_with_the_cure,
);

const WRITERS: usize = 8;
const WIDGETS: usize = 20;

async fn each_change_comes_once_and_in_order_however_many_write(database: TestDatabase) {
    let service = TestService::start_on(database, shop).await;
    let db = service.db();
    let mut live = db.changes().of::<Widget>().stream().await.expect("a stream");
    let beginning = live.position();
    let write = async |writer: usize| {
        for n in 0..WIDGETS {
            let saved = db.save(widget(&format!("{writer}.{n}"), "w")).await.expect("saved");
            db.save(Saved { entity: widget("renamed", "w"), ..saved }).await.expect("saved again");
        }
    };
    let read = async {
        let mut heard = Vec::new();
        for _ in 0..2 * WRITERS * WIDGETS {
            heard.push(change(&mut live).await);
        }
        heard
    };
    let (_, heard) = tokio::join!(join_all((0..WRITERS).map(write)), read);
    assert!(heard.is_sorted_by(|one, next| one.position < next.position), "in the order of the log");
    let mut versions = BTreeMap::<&str, Vec<i64>>::new();
    for change in &heard {
        versions.entry(&change.id).or_default().push(change.version);
    }
    assert_eq!(versions.len(), WRITERS * WIDGETS);
    assert!(versions.values().all(|versions| versions == &[1, 2]), "{versions:?}");
    // From any place the rest is the same, and nothing else.
    for from in [0, 1, heard.len() / 2, heard.len() - 1] {
        let behind = if from == 0 { beginning } else { heard[from - 1].position };
        let mut again = db.changes().of::<Widget>().stream_from(behind).await.expect("a stream");
        for told in &heard[from..] {
            assert_eq!(change(&mut again).await, *told);
        }
        db.save(widget("last", "w")).await.expect("saved");
        assert_eq!(change(&mut again).await.row.expect("a row").name, "last");
    }
}

/// Promise: R-32
async fn a_change_tells_the_row_as_it_was_then_without_its_secrets(database: TestDatabase) {
    let service = TestService::start_on(database, shop).await;
    let db = service.db().with_caller(app_kernel::base::caller::Caller::user("ann").in_request("r1"));
    let mut changes = db.changes().of::<Widget>().stream().await.expect("a stream");
    let gear = db.save(widget("gear", "w")).await.expect("saved");
    let wheel = db.save(Saved { entity: widget("wheel", "w"), ..gear.clone() }).await.expect("saved");
    assert!(db.delete::<Widget>(&gear.id).await.expect("deleted"));
    assert!(db.delete::<Widget>(&gear.id).permanent().await.expect("deleted for good"));
    let told = [
        change(&mut changes).await,
        change(&mut changes).await,
        change(&mut changes).await,
        change(&mut changes).await,
    ];
    let redacted = |saved: &Saved<Widget>| {
        let entity = Widget { word: Some("[redacted]".to_owned()), ..saved.entity.clone() };
        Saved { entity, ..saved.clone() }
    };
    assert_eq!(told[0].row, Some(redacted(&gear)), "as it was then");
    assert_eq!(told[1].row, Some(redacted(&wheel)));
    assert!(told[2].row.as_ref().expect("it is kept").deleted_at.is_some());
    assert_eq!(told[3].row, None, "nothing is left of it");
    let operations = told.each_ref().map(|change| (change.operation, change.version));
    use Operation::{Created, Deleted, SoftDeleted, Updated};
    assert_eq!(operations, [(Created, 1), (Updated, 2), (SoftDeleted, 3), (Deleted, 4)]);
    assert_eq!((told[0].user_id.as_deref(), told[0].request_id.as_deref()), (Some("ann"), Some("r1")));
    assert_eq!(told[0].changed_at, gear.created_at);
    let beginning = told[0].position - 1;
    let mut ends = db.changes().of::<Widget>().only([Deleted]).stream_from(beginning).await.expect("a stream");
    assert_eq!(change(&mut ends).await, told[3]);
}

/// Promise: R-27
async fn a_bounded_handle_hears_of_its_workspace_only(database: TestDatabase) {
    let service = TestService::start_on(database, shop).await;
    let db = service.db();
    let mut ours = db.in_workspace("ours").changes().of::<Widget>().stream().await.expect("a stream");
    // The workspace that the request is about says nothing of whose row it is.
    let elsewhere = db.with_caller(app_kernel::base::caller::Caller::user("eve").in_workspace("ours"));
    let theirs = elsewhere.save(widget("theirs", "theirs")).await.expect("saved");
    db.save_entity("notes", json!({ "text": "a note", "workspace_id": "ours" })).await.expect("saved");
    assert!(db.delete::<Widget>(&theirs.id).permanent().await.expect("deleted"));
    let gear = db.save(widget("gear", "ours")).await.expect("saved");
    assert!(db.delete::<Widget>(&gear.id).permanent().await.expect("deleted"));
    let told = [change(&mut ours).await, change(&mut ours).await];
    assert_eq!(told.map(|change| (change.id, change.version)), [(gear.id.clone(), 1), (gear.id, 2)]);
    let others = elsewhere.in_workspace("elsewhere").without_workspace();
    others.save(widget("wheel", "ours")).await.expect("saved");
    assert_eq!(change(&mut ours).await.workspace_id, None, "the request was about one that is nobody's business here");
    let refused = db.in_workspace("ours").changes().of::<app_kernel::feature::auth::User>().stream().await;
    assert_eq!(refused.expect_err("a refusal").error_code(), "not_in_workspaces");
}

/// Batches that nobody takes are thrown away.
const MORE_THAN_WAIT: usize = 40;

async fn a_stream_that_can_not_keep_up_misses_nothing(database: TestDatabase) {
    let entities = [vec![Widget::definition()], audit::entities()].concat();
    let db = Db::open(database.url(), &entities, DbOptions::default()).await.expect("opened");
    db.migrate().await.expect("migrated");
    let auditing = enable_audit(&db, &db, "by_hand");
    let mut slow = db.changes().of::<Widget>().stream().await.expect("a stream");
    let mut quick = db.changes().of::<Widget>().stream().await.expect("a stream");
    // The slow one has come to the end of the log, and rests.
    db.save(widget("first", "w")).await.expect("saved");
    auditing.carry_now().await.expect("carried");
    assert_eq!(change(&mut slow).await, change(&mut quick).await);
    let mut told = Vec::new();
    for n in 0..MORE_THAN_WAIT {
        db.save(widget(&n.to_string(), "w")).await.expect("saved");
        auditing.carry_now().await.expect("carried");
        told.push(change(&mut quick).await);
    }
    for quickly in told {
        assert_eq!(change(&mut slow).await, quickly);
    }
    drop((slow, quick));
    auditing.stop().await;
    db.close().await;
}

async fn what_was_purged_is_told_to_be_missing(database: TestDatabase) {
    let service = TestService::start_on(database, shop).await;
    let db = service.db();
    let mut live = db.changes().of::<Widget>().stream().await.expect("a stream");
    for n in 0..3 {
        db.save(widget(&n.to_string(), "w")).await.expect("saved");
    }
    let positions =
        [change(&mut live).await, change(&mut live).await, change(&mut live).await].map(|told| told.position);
    carried(&db).await;
    service.advance(Duration::from_secs(60));
    let admin = service.kernel().admin_db().expect("an admin database");
    let purged = purge_audit_logs(&admin, "shop", service.now()).await.expect("purged");
    assert_eq!(purged, positions[2].unsigned_abs(), "all that there was");
    let mut behind = db.changes().of::<Widget>().stream_from(positions[0]).await.expect("a stream");
    let mut there = db.changes().of::<Widget>().stream_from(positions[2]).await.expect("a stream");
    let mut elsewhere = db.changes().of::<Widget>().stream_from(1_000_000).await.expect("a stream");
    let reset = ChangeEvent::Reset { position: positions[2] };
    assert_eq!(event(&mut behind).await, reset);
    assert_eq!(event(&mut elsewhere).await, reset, "a position that the log never had");
    db.save(widget("new", "w")).await.expect("saved");
    for stream in [&mut behind, &mut there, &mut elsewhere, &mut live] {
        assert_eq!(change(stream).await.row.expect("a row").name, "new");
    }
}

async fn rows_without_a_struct_are_followed_too(database: TestDatabase) {
    let service = TestService::start_on(database, shop).await;
    let db = service.db();
    // Nobody has saved such a thing yet.
    let mut notes = db.changes().of_entity("notes").stream().await.expect("a stream");
    let mut widgets = db.changes().of_entity("widgets").stream().await.expect("a stream");
    db.save_entity("notes", json!({ "text": "a note", "tags": ["a", "b"], "stars": 3 })).await.expect("saved");
    db.save(widget("gear", "w")).await.expect("saved");
    let note = change(&mut notes).await.row.expect("a row").to_json();
    assert_eq!((&note["text"], &note["tags"], &note["stars"]), (&json!("a note"), &json!(["a", "b"]), &json!(3)));
    let gear = change(&mut widgets).await.row.expect("a row").to_json();
    assert_eq!((&gear["name"], &gear["word"]), (&json!("gear"), &json!("[redacted]")));
    let own =
        db.changes().of_entity("kernel_users").stream().await.expect_err("the kernel's own are read by their types");
    assert_eq!(own.error_code(), "bad_entity_name");
}

async fn what_can_not_be_followed_is_refused_with_the_cure(database: TestDatabase) {
    let service = TestService::start_on(database, shop).await;
    let refused = service.db().changes().of::<Visit>().stream().await.expect_err("it keeps no history");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.message().contains("`visits`") && refused.message().contains("history = false"), "{refused}");
    let refused = service.db().changes().of::<Widget>().stream_from(-1).await.expect_err("no position");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let database = service.stop().await;
    let silent =
        TestService::start_on(database.clone(), |config| shop(ServiceConfig { audit_enabled: false, ..config })).await;
    let refused = silent.db().changes().of::<Widget>().stream().await.expect_err("nothing is audited");
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.message().contains("AUDIT_ENABLED"), "{refused}");
    silent.anonymous().get("/everything/widgets").await.expect_problem(503, "unavailable");
    let by_hand = Db::open(database.url(), &[Widget::definition()], DbOptions::default()).await.expect("opened");
    let refused = by_hand.changes().of::<Widget>().stream().await.expect_err("nothing carries its changes");
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.message().contains("enable_audit"), "{refused}");
    by_hand.close().await;
}

/// One reader for all, and none where nobody listens: what is dropped and begun again goes on where it was.
#[tokio::test]
async fn streams_that_come_and_go_leave_the_others_as_they_are() {
    let service = TestService::start(shop).await;
    let db = service.db();
    let mut seen = BTreeSet::new();
    let mut position = db.changes().of::<Widget>().stream().await.expect("a stream").position();
    for n in 0..10 {
        let mut stream = db.changes().of::<Widget>().stream_from(position).await.expect("a stream");
        db.save(widget(&n.to_string(), "w")).await.expect("saved");
        seen.insert(change(&mut stream).await.row.expect("a row").entity.name);
        position = stream.position();
    }
    assert_eq!(seen.len(), 10);
}
