//! A start with another `DATABASE_URL` brings everything along.

use app_kernel::base::config::ServiceConfig;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use serde_json::{Value, json};
use two_databases::service;

on_every_database!(everything_comes_along_to_another_database);

/// From a file of SQLite to each database, another file of SQLite among them.
///
/// Promise: E1
async fn everything_comes_along_to_another_database(new: TestDatabase) {
    let old = TestDatabase::sqlite().await;
    // The same DATA_DIR: it says which database was the last one.
    let data_dir = old.data_dir().display().to_string();
    let with_the_same_folder = |config| service(ServiceConfig { data_dir: data_dir.clone(), ..config });

    let on_the_old = TestService::start_on(old.clone(), with_the_same_folder).await;
    let ann = on_the_old.sign_up("ann").await;
    let book = json!({
        "title": "Größe 😀", "authors": ["Ann", "Bob"], "price": 19.99, "bought_at": "2026-01-30T12:00:00.000001Z"
    });
    let read = format!("/books/{}", ann.post("/books", &book).await.expect(201).id());
    let mut book = book;
    book["is_read"] = json!(true);
    ann.put(&read, &book).await.expect(200);
    let gone = format!("/books/{}", ann.post("/books", json!({ "title": "Lost" })).await.expect(201).id());
    ann.delete(&gone).await.expect(204);
    let (books, versions) = (ann.get("/books").await.expect(200).json(), history(&ann, &read).await);
    assert_eq!((books.as_array().map(Vec::len), versions.as_array().map(Vec::len)), (Some(1), Some(2)));
    on_the_old.stop().await;

    let on_the_new = TestService::start_on(new, with_the_same_folder).await;
    assert_eq!(ann_again(&on_the_new, &ann).get("/books").await.expect(200).json(), books, "her token is still good");
    let ann = on_the_new.sign_in("ann").await;
    assert_eq!(history(&ann, &read).await, versions);
    ann.get(&gone).await.expect(404);
    let deleted = on_the_new.db().find_entities("books").include_deleted().await.expect("rows");
    assert_eq!(deleted.len(), 2, "what was deleted softly came along too");
    ann.put(&read, json!({ "title": "Greatness" })).await.expect(200);
    assert_eq!(ann.get(&read).await.expect(200).json()["version"], 3);
    on_the_new.stop().await;

    // The old one was only read: whoever goes back to it finds what it had.
    let on_the_old =
        TestService::start_on(old, |config| service(ServiceConfig { data_dir: elsewhere(&data_dir), ..config })).await;
    let ann = on_the_old.sign_in("ann").await;
    assert_eq!(ann.get("/books").await.expect(200).json(), books);
}

/// A folder that knows of no other database.
fn elsewhere(data_dir: &str) -> String {
    format!("{data_dir}/elsewhere")
}

/// The same person with the same token, at another process.
fn ann_again(service: &TestService, ann: &app_kernel::testing::Client) -> app_kernel::testing::Client {
    service.anonymous().with_token(ann.token().expect("she is signed in"))
}

async fn history(client: &app_kernel::testing::Client, book: &str) -> Value {
    client.get(&format!("{book}/history")).await.expect(200).json()
}
