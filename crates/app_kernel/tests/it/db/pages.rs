//! Pages by cursor: stable while rows come and go.

use app_kernel::store::db::entity::Entity;
use app_kernel::store::db::row::Saved;
use app_kernel::store::db::{Db, Page};
use app_kernel::testing::{TestDatabase, on_every_database};

use super::{Widget, open, widget};

on_every_database!(
    pages_hold_every_row_once_in_every_order,
    pages_do_not_shift_when_rows_come_and_go,
    a_cursor_of_something_else_is_refused,
);

async fn filled(database: &TestDatabase) -> Db {
    let db = open(database, &[Widget::definition()]).await;
    let rows = (0..23).map(|i| Widget {
        size: (i % 5 != 0).then_some(i % 3),
        color: ["red", "green", "blue"][i as usize % 3].into(),
        ..widget(&format!("w{i:02}"))
    });
    db.save_many(rows).await.expect("saves");
    db
}

async fn all_pages(db: &Db, order: &str, limit: u32) -> Vec<String> {
    let mut names = Vec::new();
    let mut next: Option<String> = None;
    for _ in 0..100 {
        let mut find = db.find::<Widget>("[status] = ?", ["active"]).order_by(order).limit(limit);
        if let Some(cursor) = next {
            find = find.after(cursor);
        }
        let page: Page<Saved<Widget>> = find.page().await.unwrap_or_else(|error| panic!("{order}: {error:?}"));
        names.extend(page.items.iter().map(|widget| widget.name.clone()));
        next = page.next;
        if next.is_none() {
            return names;
        }
    }
    panic!("{order} never ends");
}

async fn pages_hold_every_row_once_in_every_order(database: TestDatabase) {
    let db = filled(&database).await;
    for order in [
        "",
        "[name] DESC",
        "[size]",
        "[size] DESC",
        "[size] ASC NULLS LAST",
        "[size] DESC NULLS FIRST, [name] DESC",
        "[color] DESC, [size] NULLS LAST, [name]",
        "[created_at] DESC",
    ] {
        let whole: Vec<String> = db
            .find::<Widget>("", ())
            .order_by(order)
            .await
            .expect("a query")
            .iter()
            .map(|widget| widget.name.clone())
            .collect();
        assert_eq!(whole.len(), 23);
        for limit in [1, 4, 23, 50] {
            assert_eq!(all_pages(&db, order, limit).await, whole, "{order}, {limit} a page");
        }
    }
}

async fn pages_do_not_shift_when_rows_come_and_go(database: TestDatabase) {
    let db = filled(&database).await;
    let first = db.find::<Widget>("", ()).order_by("[name]").limit(5).page().await.expect("a page");
    db.delete::<Widget>(&first.items[0].id).await.expect("a deletion");
    db.save(widget("w00 and more")).await.expect("a save");
    let second = db
        .find::<Widget>("", ())
        .order_by("[name]")
        .limit(5)
        .after(first.next.expect("more"))
        .page()
        .await
        .expect("a page");
    let names: Vec<&str> = second.items.iter().map(|widget| widget.name.as_str()).collect();
    assert_eq!(names, ["w05", "w06", "w07", "w08", "w09"]);
}

async fn a_cursor_of_something_else_is_refused(database: TestDatabase) {
    let db = filled(&database).await;
    let cursor =
        db.find::<Widget>("", ()).order_by("[name]").limit(5).page().await.expect("a page").next.expect("more");
    let error = db.find::<Widget>("", ()).order_by("[size]").after(&cursor).await.expect_err("another order");
    assert_eq!((error.http_status(), error.error_code()), (400, "bad_cursor"));
    for garbage in ["", "x", "'; DROP TABLE widgets", &"A".repeat(100_000)] {
        let error = db.find::<Widget>("", ()).order_by("[name]").after(garbage).await.expect_err("no cursor");
        assert_eq!((error.http_status(), error.error_code()), (400, "bad_cursor"), "{garbage}");
    }
}
