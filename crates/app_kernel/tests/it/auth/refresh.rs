//! A refresh token is good for one exchange, whoever races for it.

use std::time::{Duration, Instant};

use app_kernel::base::secret::random_token;
use app_kernel::feature::auth::Session;
use app_kernel::testing::{Answer, TestDatabase, TestService, Wire, on_every_database};
use futures_util::future::join_all;
use serde_json::json;

use super::{Tokens, auth_only, log_in, me, new_user, refresh, start};
use crate::support::scale;

on_every_database!(
    a_refresh_token_is_good_once_and_its_replay_ends_the_session,
    a_replay_from_generations_ago_ends_the_session_and_a_guess_does_not,
    of_twenty_parallel_refreshes_one_succeeds_and_the_session_lives,
    a_replay_that_had_arrived_before_the_exchange_ends_nothing,
    a_refresh_token_ends_after_thirty_days,
    a_replay_that_arrives_before_the_exchange_is_answered_ends_nothing,
);

/// Promise: F1, R-23
async fn a_refresh_token_is_good_once_and_its_replay_ends_the_session(database: TestDatabase) {
    let service = start(database).await;
    let first = new_user(&service, "ann").await;
    let second = Tokens::of(&refresh(&service, &first.refresh).await.expect(200));
    assert_ne!((&first.refresh, &first.access), (&second.refresh, &second.access));
    me(&service, &first.access).await.expect(200);
    let third = Tokens::of(&refresh(&service, &second.refresh).await.expect(200));
    me(&service, &third.access).await.expect(200);

    refresh(&service, &second.refresh).await.expect_problem(401, "invalid_refresh_token");
    for tokens in [first, second, third] {
        me(&service, &tokens.access).await.expect_problem(401, "session_ended");
        refresh(&service, &tokens.refresh).await.expect_problem(401, "invalid_refresh_token");
    }
    log_in(&service, "ann").await;
}

/// Promise: R-23
async fn a_replay_from_generations_ago_ends_the_session_and_a_guess_does_not(database: TestDatabase) {
    let service = start(database).await;
    let first = new_user(&service, "ann").await;
    let mut last = first.clone();
    for _ in 0..3 {
        last = Tokens::of(&refresh(&service, &last.refresh).await.expect(200));
    }
    let guess = format!("{}{}", &first.refresh[..40], random_token());
    refresh(&service, &guess).await.expect(401);
    me(&service, &last.access).await.expect(200);

    // Another process, long after: it knows of no exchange but from the database.
    service.advance(Duration::from_secs(3));
    let other = service.beside(auth_only).await;
    refresh(&other, &first.refresh).await.expect(401);
    me(&other, &last.access).await.expect_problem(401, "session_ended");
    refresh(&other, &last.refresh).await.expect(401);
}

/// 20 clients at two processes race for each token of a session; then one is replayed.
///
/// Promise: R-23
async fn of_twenty_parallel_refreshes_one_succeeds_and_the_session_lives(database: TestDatabase) {
    const CLIENTS: usize = 20;
    let rounds = scale(50);
    let service = start(database).await;
    let other = service.beside(auth_only).await;
    let mut tokens = new_user(&service, "ann").await;
    for round in 0..rounds {
        // Beyond the limit of exchanges from one address, and the moment in which a replay counts as simultaneous.
        service.advance(Duration::from_secs(3));
        let answers = race(&[&service, &other], &tokens.refresh, CLIENTS).await;
        let (mut winners, losers): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!((winners.len(), losers.len()), (1, CLIENTS - 1), "round {round}");
        for loser in losers {
            loser.expect_problem(401, "invalid_refresh_token");
        }
        let next = Tokens::of(&winners.remove(0));
        me(&service, &next.access).await.expect(200);
        tokens = next;
    }
    service.advance(Duration::from_secs(3));
    let last = Tokens::of(&refresh(&service, &tokens.refresh).await.expect(200));
    me(&service, &last.access).await.expect(200);
    service.advance(Duration::from_secs(3));
    refresh(&service, &tokens.refresh).await.expect_problem(401, "invalid_refresh_token");
    me(&service, &last.access).await.expect_problem(401, "session_ended");
    refresh(&service, &last.refresh).await.expect_problem(401, "invalid_refresh_token");
    println!("R-23 held: {rounds} × {CLIENTS} parallel refreshes, {rounds} successes; 1 replay, session over");
}

/// All heads have arrived before the first body is sent, so all requests are under way at once, however busy the machine is.
async fn race(services: &[&TestService], token: &str, clients: usize) -> Vec<Answer> {
    let mut wires = join_all((0..clients).map(|n| arrived(services[n % services.len()], token))).await;
    let body = body_of(token);
    join_all(wires.iter_mut().map(|wire| wire.send(&body))).await;
    join_all(wires.into_iter().map(Wire::answer)).await
}

/// A request whose head the service has read; its body is still to come.
async fn arrived(service: &TestService, token: &str) -> Wire {
    let head = format!(
        "POST /auth/refresh HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         expect: 100-continue\r\nconnection: close\r\n\r\n",
        body_of(token).len()
    );
    let mut wire = Wire::connect(&service.url()).await;
    wire.send(head.as_bytes()).await;
    wire.wait_for_continue().await;
    wire
}

fn body_of(token: &str) -> Vec<u8> {
    json!({ "refresh_token": token }).to_string().into_bytes()
}

/// Promise: R-23
async fn a_replay_that_had_arrived_before_the_exchange_ends_nothing(database: TestDatabase) {
    let service = start(database).await;
    let tokens = new_user(&service, "ann").await;
    // Its head arrives now, its body only after another request has exchanged the token.
    let mut slow = arrived(&service, &tokens.refresh).await;
    let next = Tokens::of(&refresh(&service, &tokens.refresh).await.expect(200));
    slow.send(&body_of(&tokens.refresh)).await;
    slow.answer().await.expect_problem(401, "invalid_refresh_token");
    me(&service, &next.access).await.expect(200);
    refresh(&service, &next.refresh).await.expect(200);
}

/// Promise: F1
async fn a_refresh_token_ends_after_thirty_days(database: TestDatabase) {
    let service = start(database).await;
    let day = Duration::from_secs(24 * 3600);
    let tokens = new_user(&service, "ann").await;
    service.advance(day * 30 - Duration::from_secs(1));
    let next = Tokens::of(&refresh(&service, &tokens.refresh).await.expect(200));
    me(&service, &next.access).await.expect(200);
    service.advance(day * 30);
    refresh(&service, &next.refresh).await.expect(401);
}

/// Who was answered can use the answer only afterwards; so whatever arrives before the answer leaves is no theft.
///
/// Promise: R-23
async fn a_replay_that_arrives_before_the_exchange_is_answered_ends_nothing(database: TestDatabase) {
    let service = start(database).await;
    new_user(&service, "ann").await;
    for _ in 0..50 {
        let tokens = log_in(&service, "ann").await;
        let begun = Instant::now();
        let exchange = refresh(&service, &tokens.refresh);
        let replay = async {
            let was_exchanged = async || {
                let session = service.db().get::<Session>(tokens.session_id()).await.expect("a read");
                session.expect("a session").rotated_at.is_some()
            };
            while !was_exchanged().await {}
            let mut late = arrived(&service, &tokens.refresh).await;
            let is_in_time = begun.elapsed() < Duration::from_millis(100);
            late.send(&body_of(&tokens.refresh)).await;
            late.answer().await.expect_problem(401, "invalid_refresh_token");
            is_in_time
        };
        let (exchange, is_in_time) = tokio::join!(exchange, replay);
        let next = Tokens::of(&exchange.expect(200));
        assert!(begun.elapsed() >= Duration::from_millis(100));
        // On a machine that is too busy for the window, once more.
        if is_in_time {
            me(&service, &next.access).await.expect(200);
            return;
        }
    }
    panic!("the machine is too busy: no replay came in time");
}
