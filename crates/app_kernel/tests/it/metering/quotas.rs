//! Quotas hold, however many ask at once.

use app_kernel::feature::metering::{check_quota, consume_quota, get_usage, track_usage};
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use futures_util::future::join_all;

use super::thinker;

on_every_database!(callers_together_never_get_more_than_the_limit, a_look_at_a_quota_sees_what_was_just_counted);

/// Promise: Q4
async fn callers_together_never_get_more_than_the_limit(database: TestDatabase) {
    const CALLERS: usize = 20;
    const AMOUNT: i64 = 30;
    const LIMIT: i64 = 400;
    let one = TestService::start_on(database, thinker).await;
    let two = one.beside(thinker).await;
    track_usage(one.kernel()).workspace("w").count("tokens", 25).record().expect("room");
    // What one process has noted down, the other sees once it is moved.
    assert!(check_quota(one.kernel()).workspace("w").metric("tokens").limit(LIMIT).await.expect("a look"));
    let ask = async |caller: usize| {
        let kernel = if caller.is_multiple_of(2) { one.kernel() } else { two.kernel() };
        let ask = consume_quota(kernel).workspace("w").metric("tokens").amount(AMOUNT).limit(LIMIT);
        ask.await.expect("an answer")
    };
    let granted = join_all((0..CALLERS).map(ask)).await.into_iter().filter(|granted| *granted).count() as i64;
    assert_eq!(granted, (LIMIT - 25) / AMOUNT);
    let admin = one.kernel().admin_db().expect("an admin database");
    let used = get_usage(&admin).app("thinker").workspace("w").await.expect("usage").get("tokens");
    assert_eq!(used, 25 + granted * AMOUNT);
    let other = consume_quota(two.kernel()).workspace("another").metric("tokens").amount(LIMIT).limit(LIMIT);
    assert!(other.await.expect("an answer"), "somebody else's quota is another");
    let beyond = consume_quota(two.kernel()).workspace("another").metric("tokens").amount(1).limit(LIMIT);
    assert!(!beyond.await.expect("an answer"), "the whole of it was taken, and not one more");
}

/// Promise: Q4
async fn a_look_at_a_quota_sees_what_was_just_counted(database: TestDatabase) {
    let service = TestService::start_on(database, thinker).await;
    let kernel = service.kernel();
    let is_left = async || check_quota(kernel).user("ann").metric("tokens").limit(100).await.expect("a look");
    assert!(is_left().await);
    track_usage(kernel).user("ann").count("tokens", 99).record().expect("room");
    assert!(is_left().await);
    track_usage(kernel).user("ann").count("tokens", 1).record().expect("room");
    assert!(!is_left().await);
    check_quota(kernel).metric("tokens").limit(1).await.expect_err("nobody's quota");
    consume_quota(kernel).user("ann").limit(1).await.expect_err("requests count themselves");
}
