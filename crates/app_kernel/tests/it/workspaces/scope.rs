//! A handle of one workspace: the rows of others are not there for it, by whatever verb.

use std::collections::BTreeSet;

use app_kernel::feature::auth::User;
use app_kernel::feature::workspaces::{Member, Workspace};
use app_kernel::prelude::*;
use app_kernel::store::db::history::Operation;
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use super::{Project, project};
use crate::db::{Widget, open};
use crate::support::repository;

on_every_database!(
    what_is_read_is_the_workspaces_own,
    what_is_saved_is_the_workspaces_own,
    rows_of_others_can_not_be_touched,
    the_past_of_others_is_hidden,
    matching_stays_within_the_workspace,
    rows_without_a_struct_are_kept_apart_too,
    a_transaction_is_within_the_workspace,
    what_can_not_be_kept_apart_is_refused,
);

const ANNS: &str = "workspace-of-ann";
const BOBS: &str = "workspace-of-bob";

/// A database with a project `gear` in each of two workspaces, and the two handles.
async fn two_workspaces(database: &TestDatabase) -> (Db, Db, Saved<Project>, Saved<Project>) {
    let db = open(database, &[Project::definition(), Widget::definition()]).await;
    let (ann, bob) = (db.in_workspace(ANNS), db.in_workspace(BOBS));
    let anns = ann.save(project("gear")).await.expect("saved");
    let bobs = bob.save(project("gear")).await.expect("saved, for unique is within the workspace");
    (ann, bob, anns, bobs)
}

fn names(projects: &[Saved<Project>]) -> Vec<(&str, &str)> {
    projects.iter().map(|project| (project.workspace_id.as_str(), project.name.as_str())).collect()
}

/// Promise: R-27
async fn what_is_read_is_the_workspaces_own(database: TestDatabase) {
    let (ann, bob, anns, bobs) = two_workspaces(&database).await;
    for clause in
        ["", "[name] = 'gear'", "[size] >= 0 OR [workspace_id] = 'workspace-of-bob'", "NOT [size] = 7 OR TRUE"]
    {
        assert_eq!(names(&ann.find::<Project>(clause, ()).await.expect("a list")), [(ANNS, "gear")], "{clause}");
        assert_eq!(ann.count::<Project>(clause, ()).await.expect("a count"), 1, "{clause}");
    }
    assert_eq!(names(&ann.find::<Project>("[workspace_id] = ?", [BOBS]).await.expect("a list")), []);
    let with_params = ann.find::<Project>("[size] = ? OR [name] = ?", (9, "gear")).order_by("[name] DESC").await;
    assert_eq!(names(&with_params.expect("a list")), [(ANNS, "gear")]);
    let error = ann.find::<Project>("[size] = ?", (1, 2)).await.expect_err("too many parameters");
    assert_eq!(error.message(), "the where clause has 1 parameter, but 2 were given");

    assert_eq!(ann.get::<Project>(&anns.id).await.expect("a read").map(|found| found.id), Some(anns.id.clone()));
    assert_eq!(ann.get::<Project>(&bobs.id).await.expect("a read"), None);
    assert_eq!(ann.get::<Project>(&bobs.id).include_deleted().await.expect("a read"), None);
    let both = [&bobs.id, &anns.id, &bobs.id].map(String::as_str);
    assert_eq!(names(&ann.get_many::<Project>(both).await.expect("a list")), [(ANNS, "gear")]);

    for n in 0..5 {
        ann.save(project(&format!("part {n}"))).await.expect("saved");
        bob.save(project(&format!("part {n}"))).await.expect("saved");
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let query = ann.find::<Project>("[size] = ?", [1]).order_by("[name]").limit(4);
        let page =
            after.into_iter().fold(query, |query, cursor: String| query.after(cursor)).page().await.expect("a page");
        seen.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen.len(), 6);
    assert!(seen.iter().all(|project| project.workspace_id == ANNS));
    // The same clause, unbounded, is another plan.
    assert_eq!(ann.without_workspace().count::<Project>("", ()).await.expect("a count"), 12);
    assert_eq!((ann.workspace_id(), ann.caller().workspace_id()), (Some(ANNS), Some(ANNS)));
}

/// Promise: R-27
async fn what_is_saved_is_the_workspaces_own(database: TestDatabase) {
    let (ann, _, anns, bobs) = two_workspaces(&database).await;
    assert_eq!(anns.workspace_id, ANNS, "what comes back says it too");
    let named = ann.save(Project { workspace_id: ANNS.to_owned(), ..project("cog") }).await.expect("saved");
    let many = ann.save_many([project("nut"), project("bolt")]).await.expect("saved");
    assert!(many.iter().chain([&named]).all(|project| project.workspace_id == ANNS));
    let stored = ann.without_workspace().find::<Project>("[workspace_id] = ?", [ANNS]).await.expect("a list");
    assert_eq!(stored.len(), 4);

    let elsewhere = Project { workspace_id: BOBS.to_owned(), ..project("spy") };
    let error = ann.save(elsewhere.clone()).await.expect_err("it is another's");
    assert_eq!((error.http_status(), error.field_errors()[0].pointer.as_str()), (422, "/workspace_id"));
    assert_eq!(ann.save_many([project("ok"), elsewhere]).await.expect_err("one is another's").http_status(), 422);
    let mut moved = anns.clone();
    moved.workspace_id = BOBS.to_owned();
    assert_eq!(ann.save(moved).await.expect_err("it would move").http_status(), 422);

    let mut mine = anns.clone();
    mine.size = 2;
    let mine = ann.save(mine).if_version(1).await.expect("saved");
    assert_eq!((mine.version, mine.size, mine.workspace_id.as_str()), (2, 2, ANNS));
    assert_eq!(ann.without_workspace().get::<Project>(&bobs.id).await.expect("a read"), Some(bobs));
}

/// Promise: R-27
async fn rows_of_others_can_not_be_touched(database: TestDatabase) {
    let (ann, bob, anns, bobs) = two_workspaces(&database).await;
    let db = ann.without_workspace();
    let not_found = |error: Error| assert_eq!((error.http_status(), error.error_code()), (404, "not_found"));
    not_found(ann.save(project("mine now")).id(&bobs.id).await.expect_err("it is bob's"));
    // As if it had been read: its version is right, its workspace is ours.
    let forged = Saved { entity: Project { workspace_id: ANNS.to_owned(), ..project("mine now") }, ..bobs.clone() };
    not_found(ann.save(forged.clone()).await.expect_err("it is bob's"));
    not_found(ann.save(forged.clone()).if_version(1).await.expect_err("it is bob's"));
    not_found(ann.save_many([forged]).await.expect_err("it is bob's"));
    not_found(ann.save_entity("projects", json!({ "id": bobs.id, "size": 9 })).await.expect_err("it is bob's"));

    assert!(!ann.delete::<Project>(&bobs.id).await.expect("nothing to delete"));
    assert!(!ann.delete::<Project>(&bobs.id).permanent().if_version(7).await.expect("nothing to delete"));
    assert!(!ann.delete_entity("projects", &bobs.id).await.expect("nothing to delete"));
    assert_eq!(ann.delete_many::<Project>([&bobs.id, &anns.id].map(String::as_str)).await.expect("one"), 1);
    assert_eq!(db.get::<Project>(&bobs.id).await.expect("a read").as_ref(), Some(&bobs), "as it was");

    // Deleted ones are no different.
    assert!(bob.delete::<Project>(&bobs.id).await.expect("deleted"));
    not_found(ann.save(project("mine now")).id(&bobs.id).await.expect_err("it is bob's"));
    assert!(!ann.delete::<Project>(&bobs.id).permanent().await.expect("nothing to delete"));
}

/// Promise: R-27, C10
async fn the_past_of_others_is_hidden(database: TestDatabase) {
    let (ann, bob, anns, bobs) = two_workspaces(&database).await;
    bob.delete::<Project>(&bobs.id).await.expect("deleted");
    assert_eq!(ann.history::<Project>(&bobs.id).await.expect("a history"), []);
    assert_eq!(ann.entity_history("projects", &bobs.id).await.expect("a history"), []);
    assert_eq!(ann.get_version::<Project>(&bobs.id, 1).await.expect("a read"), None);
    let error = ann.restore_version::<Project>(&bobs.id, 1).await.expect_err("it is bob's");
    assert_eq!(error.http_status(), 404);
    assert_eq!(ann.restore_entity_version("projects", &bobs.id, 1).await.expect_err("it is bob's").http_status(), 404);
    assert_eq!(ann.purge_history("projects", &bobs.id).await.expect("nothing"), 0);

    let operations: Vec<Operation> =
        bob.history::<Project>(&bobs.id).await.expect("a history").iter().map(|version| version.operation).collect();
    assert_eq!(operations, [Operation::SoftDeleted, Operation::Created]);
    assert_eq!(bob.restore_version::<Project>(&bobs.id, 1).await.expect("restored"), 3);

    // What moved by other means takes its past along for those who had it then, and nobody brings it back.
    let mut moved = anns.clone();
    moved.workspace_id = BOBS.to_owned();
    moved.name = "moved".to_owned();
    ann.without_workspace().save(moved).await.expect("moved");
    let versions = async |db: &Db| -> Vec<i64> {
        db.history::<Project>(&anns.id).await.expect("a history").iter().map(|version| version.version).collect()
    };
    assert_eq!((versions(&ann).await, versions(&bob).await), (vec![1], vec![2]));
    assert_eq!(ann.restore_version::<Project>(&anns.id, 1).await.expect_err("it is bob's now").http_status(), 404);
    assert_eq!(bob.restore_version::<Project>(&anns.id, 1).await.expect_err("it was ann's then").http_status(), 404);
    assert_eq!(bob.purge_history("projects", &bobs.id).await.expect("purged"), 3);
}

/// Promise: R-27
async fn matching_stays_within_the_workspace(database: TestDatabase) {
    let (ann, bob, anns, bobs) = two_workspaces(&database).await;
    let bigger = Project { size: 5, ..project("gear") };
    for fields in [["workspace_id", "name"].as_slice(), &["name"]] {
        let save = ann.save(bigger.clone());
        let saved = match fields {
            [one] => save.match_by([*one]).await,
            [one, other] => save.match_by([*one, *other]).await,
            _ => unreachable!("there are one or two"),
        };
        assert_eq!(saved.expect("saved").id, anns.id);
    }
    let row =
        ann.save_entity("projects", json!({ "name": "gear", "size": 6 })).match_by(["name"]).await.expect("saved");
    assert_eq!((row.id(), row["size"].as_int(), row["workspace_id"].as_str()), (&*anns.id, Some(6), Some(ANNS)));
    assert_eq!(bob.get::<Project>(&bobs.id).await.expect("a read"), Some(bobs), "untouched");
    // A new name is a new row, also where the other workspace has it.
    bob.save(project("secret plan")).await.expect("saved");
    let made = ann.save(project("secret plan")).match_by(["name"]).await.expect("saved");
    assert_eq!((made.version, made.workspace_id.as_str()), (1, ANNS));
    let error = ann.save(project("gear")).match_by(["size"]).await.expect_err("no such index");
    assert_eq!(error.http_status(), 400);
    // And two in one workspace are one too many.
    assert_eq!(ann.save(project("gear")).await.expect_err("it is taken").error_code(), "duplicate");
}

/// Promise: R-27, C4
async fn rows_without_a_struct_are_kept_apart_too(database: TestDatabase) {
    let db = open(&database, &[Project::definition()]).await;
    let (ann, bob) = (db.in_workspace(ANNS), db.in_workspace(BOBS));
    assert_eq!(ann.count_entities("notes").await.expect("nobody saved one"), 0);
    let anns = ann.save_entity("notes", json!({ "text": "a" })).await.expect("saved");
    assert_eq!(anns["workspace_id"].as_str(), Some(ANNS));
    let bobs = bob.save_entity("notes", json!({ "text": "b", "workspace_id": null })).await.expect("saved");
    let list = ann.find_entities("notes").where_clause("[text] >= ?", ["a"]).await.expect("a list");
    assert_eq!(list.iter().map(Row::id).collect::<Vec<_>>(), [anns.id()]);
    assert_eq!(bob.count_entities("notes").await.expect("a count"), 1);
    assert_eq!(ann.get_entity("notes", bobs.id()).await.expect("a read"), None);
    let foreign = ann.save_entity("notes", json!({ "text": "c", "workspace_id": BOBS })).await;
    assert_eq!(foreign.expect_err("it is another's").http_status(), 422);
    assert_eq!(ann.save_entity("notes", json!({ "workspace_id": 7 })).await.expect_err("no text").http_status(), 422);

    // A table that was used without workspaces holds nothing for one, until somebody saves to it there.
    let free = db.save_entity("tags", json!({ "word": "old" })).await.expect("saved");
    assert_eq!(ann.get_entity("tags", free.id()).await.expect("a read"), None);
    assert_eq!(ann.find_entities("tags").await.expect("a list"), []);
    // Another process makes the column meanwhile.
    let other = open(&database, &[Project::definition()]).await;
    other.in_workspace(ANNS).save_entity("tags", json!({ "word": "new" })).await.expect("saved");
    assert_eq!(ann.count_entities("tags").await.expect("a count"), 1);
    assert_eq!(db.count_entities("tags").await.expect("a count"), 2);
    let error = ann.save_entity("tags", json!({ "id": free.id(), "word": "mine" })).await.expect_err("not in it");
    assert_eq!(error.http_status(), 404);
}

/// Promise: R-27
async fn a_transaction_is_within_the_workspace(database: TestDatabase) {
    let (ann, bob, anns, bobs) = two_workspaces(&database).await;
    let seen = ann
        .transaction(async |tx| {
            let mut mine = tx.get::<Project>(&anns.id).await?.or_not_found("project")?;
            mine.size = 8;
            tx.save(mine).await?;
            let refused = tx.save(project("x")).id(&bobs.id).await.expect_err("it is bob's");
            assert_eq!(refused.http_status(), 404);
            assert!(!tx.delete::<Project>(&bobs.id).await?);
            // The refusal was the kernel's own, so the transaction is whole.
            tx.save(project("made inside")).await?;
            tx.find::<Project>("", ()).order_by("[name]").await
        })
        .await
        .expect("committed");
    assert_eq!(names(&seen), [(ANNS, "gear"), (ANNS, "made inside")]);
    let inside =
        ann.without_workspace().transaction(async |tx| tx.in_workspace(BOBS).count::<Project>("", ()).await).await;
    assert_eq!((inside.expect("a count"), bob.count::<Project>("", ()).await.expect("a count")), (1, 1));
}

/// Promise: R-27
async fn what_can_not_be_kept_apart_is_refused(database: TestDatabase) {
    let users = User::definition();
    let entities = [Project::definition(), Widget::definition(), Workspace::definition(), Member::definition(), users];
    let db = open(&database, &entities).await;
    let ann = db.in_workspace(ANNS);
    let refused =
        |error: Error| assert_eq!((error.http_status(), error.error_code()), (400, "not_in_workspaces"), "{error}");
    refused(ann.find::<Widget>("", ()).await.expect_err("it has no workspace"));
    refused(ann.get::<Widget>("x").await.expect_err("it has no workspace"));
    refused(ann.save(crate::db::widget("gear")).await.expect_err("it has no workspace"));
    refused(ann.delete::<Widget>("x").await.expect_err("it has no workspace"));
    refused(ann.find_entities("widgets").await.expect_err("it has no workspace"));
    refused(ann.find::<Member>("", ()).await.expect_err("it is the kernel's"));
    refused(ann.get::<Workspace>(ANNS).await.expect_err("it is the kernel's"));
    refused(ann.purge_history("kernel_workspaces", ANNS).await.expect_err("it is the kernel's"));
    refused(db.in_workspace("").find::<Project>("", ()).await.expect_err("it is no workspace"));
    let raw = ann.query("SELECT * FROM [projects]", ()).await.expect_err("raw SQL has no bounds");
    assert_eq!(raw.http_status(), 500);
    assert_eq!(ann.execute("DELETE FROM [projects]", ()).await.expect_err("raw SQL has no bounds").http_status(), 500);
    assert_eq!(ann.without_workspace().query("SELECT * FROM [projects]", ()).await.expect("rows"), []);
    let tx = ann.transaction(async |tx| tx.execute("DELETE FROM [projects]", ()).await).await;
    assert_eq!(tx.expect_err("raw SQL has no bounds").http_status(), 500);
}

/// What a handle of one workspace keeps within it; the tests above try each, and those of `events` try `changes`.
const BOUNDED: [&str; 21] = [
    "changes",
    "count",
    "count_entities",
    "delete",
    "delete_entity",
    "delete_many",
    "entity_history",
    "find",
    "find_entities",
    "get",
    "get_entity",
    "get_many",
    "get_version",
    "history",
    "purge_history",
    "restore_entity_version",
    "restore_version",
    "save",
    "save_entity",
    "save_many",
    "transaction",
];
/// What it refuses.
const REFUSED: [&str; 2] = ["execute", "query"];
/// What is about no row.
const ABOUT_NO_ROW: [&str; 15] = [
    "after_commit",
    "backend",
    "backups",
    "bring_up",
    "caller",
    "close",
    "in_workspace",
    "migrate",
    "open",
    "ping",
    "plan_migration",
    "with_caller",
    "without_workspace",
    "workspace_id",
    "write_ahead_log_bytes",
];

/// Promise: R-27
#[test]
fn every_verb_of_the_store_is_kept_within_a_workspace_or_stands_here_with_the_reason() {
    let declared: BTreeSet<&str> = BOUNDED.into_iter().chain(REFUSED).chain(ABOUT_NO_ROW).collect();
    let mut found = BTreeSet::new();
    for file in repository::files("crates/app_kernel/src/store/db", "rs") {
        let text = repository::read(&file);
        for block in text.split("\nimpl Db {\n").skip(1) {
            let body = block.split("\n}\n").next().unwrap_or_default();
            let heads = body
                .lines()
                .filter_map(|line| line.strip_prefix("    pub fn ").or_else(|| line.strip_prefix("    pub async fn ")));
            found.extend(heads.filter_map(|head| head.split(['(', '<']).next()).map(str::to_owned));
        }
    }
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    let new: Vec<_> = found.difference(&declared).collect();
    assert!(
        new.is_empty(),
        "{new:?}: does it keep within a workspace? Let it ask `db.scope(..)`, test it, and list it"
    );
    assert_eq!(declared.difference(&found).collect::<Vec<_>>(), Vec::<&&str>::new(), "they are gone");
}
