//! Several processes of a service.

use std::time::Duration;

use app_kernel::prelude::*;
use app_kernel::testing::{Client, TestDatabase, TestRedis, TestService, on_every_database};

use super::{Widget, change, post_widget, shop, widget};

on_every_database!(
    a_change_made_in_one_process_reaches_a_stream_of_another,
    the_same_with_redis_between_them,
    changes_of_several_processes_come_once_each,
);

async fn reaches_the_other(one: TestService, other: TestService) {
    let ann = one.sign_up("ann").await;
    let there = Client::new(other.url()).with_token(ann.token().expect("a token"));
    let mut listener = there.listen("/widgets/events").await.expect("a stream");
    for name in ["gear", "wheel", "axle"] {
        post_widget(&ann, name).await;
        let heard = listener.next().await.expect("an event");
        assert_eq!(heard.data["row"]["name"], name);
    }
    drop(listener);
    one.stop().await;
}

async fn a_change_made_in_one_process_reaches_a_stream_of_another(database: TestDatabase) {
    let one = TestService::start_on(database, shop).await;
    let other = one.beside(shop).await;
    reaches_the_other(one, other).await;
}

async fn the_same_with_redis_between_them(database: TestDatabase) {
    let Some(redis) = TestRedis::shared() else { return };
    let build = |config| shop(config).redis(redis.patient());
    let one = TestService::start_on(database, build).await;
    let other = one.beside(build).await;
    reaches_the_other(one, other).await;
}

const EACH: usize = 40;

/// Each process carries what it finds, so what one has changed may be carried by the other.
async fn changes_of_several_processes_come_once_each(database: TestDatabase) {
    let one = TestService::start_on(database, shop).await;
    let other = one.beside(shop).await;
    let (here, there) = (one.db(), other.db());
    let mut streams = [&here, &there].map(|db| db.changes().of::<Widget>());
    let [first, second] = &mut streams;
    let (mut first, mut second) =
        (first.clone().stream().await.expect("a stream"), second.clone().stream().await.expect("a stream"));
    let write = async |db: &Db, process: &str| {
        for n in 0..EACH {
            db.save(widget(&format!("{process} {n}"), "w")).await.expect("saved");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let hear = async |stream: &mut _| {
        let mut heard = Vec::new();
        for _ in 0..2 * EACH {
            heard.push(change(stream).await);
        }
        heard
    };
    let (_, _, first, second) =
        tokio::join!(write(&here, "one"), write(&there, "other"), hear(&mut first), hear(&mut second));
    assert_eq!(first, second, "both hear the same in the same order");
    let names: std::collections::BTreeSet<String> =
        first.into_iter().filter_map(|change| Some(change.row?.entity.name)).collect();
    assert_eq!(names.len(), 2 * EACH);
    one.stop().await;
}
