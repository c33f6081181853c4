//! Who knows the password gets tokens, and whoever does not learns nothing.

use std::time::{Duration, Instant};

use app_kernel::testing::service::PASSWORD;
use app_kernel::testing::{TestDatabase, on_every_database};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::scale;

use super::{Tokens, address, log_in, log_in_with, me, sign_up, start, user_called};

on_every_database!(
    the_form_of_the_oauth2_password_flow_logs_in,
    known_unknown_and_inactive_people_are_answered_alike,
    guessing_passwords_ends_in_429,
    odd_names_and_passwords_are_401,
);

/// Promise: F1
async fn the_form_of_the_oauth2_password_flow_logs_in(database: TestDatabase) {
    let service = start(database).await;
    let anonymous = service.anonymous();
    sign_up(&service, "ann").await.expect(201);
    let password = PASSWORD.replace(' ', "+");
    let form = async |fields: &str| anonymous.post_form("/api/v1/auth/login", &fields.replace('#', &password)).await;
    let tokens =
        Tokens::of(&form("grant_type=password&username=ann%40example.com&password=#&scope=").await.expect(200));
    me(&service, &tokens.access).await.expect(200);
    form("username=ann%40example.com&password=#").await.expect(200);
    form("username=ann%40example.com&password=wrong").await.expect_problem(401, "invalid_credentials");
    let other = form("grant_type=client_credentials&username=ann%40example.com&password=#").await;
    other.expect_problem(400, "unsupported_grant_type");
    assert_eq!(form("username=ann%40example.com").await.expect(422).wrong_fields(), ["/password"]);

    let by_username = json!({ "username": address("ann"), "password": PASSWORD });
    anonymous.post("/auth/login", by_username).await.expect(200);
    let nameless = anonymous.post("/auth/login", json!({ "password": PASSWORD })).await.expect(422);
    assert_eq!(nameless.wrong_fields(), ["/email"]);
    let plain = anonymous.send("POST".parse().expect("a method"), "/auth/login", Some("text/plain"), b"ann".to_vec());
    plain.await.expect_problem(415, "unsupported_media_type");
}

/// Promise: R-24
async fn known_unknown_and_inactive_people_are_answered_alike(database: TestDatabase) {
    let service = start(database).await;
    sign_up(&service, "ann").await.expect(201);
    sign_up(&service, "gone").await.expect(201);
    let mut gone = user_called(&service.db(), "gone").await;
    gone.is_active = false;
    service.db().save(gone).await.expect("saved");
    let mut answers = Vec::new();
    for (name, password) in [("ann", "wrong horse"), ("nobody", PASSWORD), ("gone", PASSWORD), ("gone", "wrong horse")]
    {
        let answer = log_in_with(&service, name, password).await.expect_problem(401, "invalid_credentials");
        let (mut body, mut headers) = (answer.json(), answer.headers);
        body["request_id"].take();
        for its_own in ["x-request-id", "date"] {
            headers.remove(its_own);
        }
        answers.push((body, format!("{headers:?}")));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

/// Promise: R-24
async fn guessing_passwords_ends_in_429(database: TestDatabase) {
    let service = start(database).await;
    sign_up(&service, "ann").await.expect(201);
    for name in ["ann", "nobody"] {
        for _ in 0..20 {
            log_in_with(&service, name, "wrong horse").await.expect(401);
        }
        let answer = log_in_with(&service, name, "wrong horse").await.expect_problem(429, "too_many_attempts");
        assert_eq!(answer.header("retry-after"), Some("15"));
    }
    service.advance(Duration::from_secs(15));
    log_in(&service, "ann").await;
}

/// Promise: R-29
async fn odd_names_and_passwords_are_401(database: TestDatabase) {
    let service = start(database).await;
    let long = "x".repeat(100_000);
    for (email, password) in
        [("\u{0}", "\u{0}"), ("' OR 1=1 --@x", "x"), ("ann@example.com", &long), (&long, "x"), ("", "")]
    {
        let answer = service.anonymous().post("/auth/login", json!({ "email": email, "password": password })).await;
        answer.expect_problem(401, "invalid_credentials");
    }
}

/// A crowd that does not know the password keeps all hashing threads busy. Who asks for something else does not wait behind it.
///
/// Promise: R-24
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_logins_does_not_starve_others() {
    let crowd = scale(200);
    let service = start(TestDatabase::sqlite().await).await;
    sign_up(&service, "ann").await.expect(201);
    let begun = Instant::now();
    let flood = async {
        let attempts =
            (0..crowd).map(|n| log_in_with(&service, if n % 2 == 0 { "ann" } else { "nobody" }, "wrong horse"));
        (join_all(attempts).await, begun.elapsed())
    };
    let others = async {
        let (client, mut slowest, mut answered) = (service.anonymous(), Duration::ZERO, 0);
        while answered < crowd / 4 {
            let asked = Instant::now();
            client.get("/healthz").await.expect(200);
            (slowest, answered) = (slowest.max(asked.elapsed()), answered + 1);
        }
        (slowest, begun.elapsed())
    };
    let ((answers, flooded), (slowest, asked)) = tokio::join!(flood, others);
    for answer in &answers {
        assert!(matches!(answer.status, 401 | 429 | 503), "{answer:?}");
        assert_eq!(answer.status == 503, answer.json()["code"] == "busy", "{answer:?}");
    }
    let tried = answers.iter().filter(|answer| answer.status == 401).count();
    assert!(tried >= 20, "{tried} passwords were looked at");
    assert!(asked < flooded, "{} answers took {asked:?}, as long as {tried} hashes: {flooded:?}", crowd / 4);
    service.advance(Duration::from_secs(60));
    log_in(&service, "ann").await;
    println!(
        "R-24 held: {crowd} logins at once, {tried} looked at, none failed; {} others answered meanwhile, the slowest in {:.0} % of the flood",
        crowd / 4,
        100.0 * slowest.as_secs_f64() / flooded.as_secs_f64()
    );
}
