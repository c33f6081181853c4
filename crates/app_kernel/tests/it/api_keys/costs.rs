//! What a request with a key costs beside one with a token. PostgreSQL keeps an account of each database, so it is asked there.

use std::time::Duration;

use app_kernel::base::secret::Secret;
use app_kernel::store::db::{Backend, Db, DbOptions};
use app_kernel::testing::{Client, TestDatabase, TestService, on_every_database};
use serde_json::json;

use super::{app, make_key, program, who_is};
use crate::workspaces::person;

on_every_database!(a_request_with_a_key_costs_at_most_one_query_more_than_one_with_a_token);

const REQUESTS: i64 = 200;
/// What a start, a sweep and the second after which people are read anew may differ in.
const SLACK: i64 = 60;

/// Promise: M3
async fn a_request_with_a_key_costs_at_most_one_query_more_than_one_with_a_token(database: TestDatabase) {
    if database.backend() != Backend::Postgres {
        return println!("queries are counted on PostgreSQL alone");
    }
    let account = Account::of(&database).await;
    let service = TestService::start_on(database.clone(), app).await;
    let ann = person(&service, "ann").await;
    let token = ann.client.token().expect("a token").to_owned();
    let (_, key) = make_key(&ann.client, json!({ "name": "CI" })).await;
    service.stop().await;

    let with_token = account.of_requests(&database, &token).await;
    let with_key = account.of_requests(&database, &key).await;
    let more = with_key - with_token;
    assert!(with_token >= REQUESTS, "the account was read: {with_token}");
    assert!(
        more <= REQUESTS + SLACK,
        "{REQUESTS} requests took {with_token} queries with a token, {with_key} with a key"
    );
    println!("M3 held: {REQUESTS} requests took {more} queries more with a key than the {with_token} with a token");
}

/// Reads from another database how many transactions a database has committed.
struct Account {
    db: Db,
    name: String,
}

impl Account {
    async fn of(database: &TestDatabase) -> Self {
        let server = std::env::var("TEST_POSTGRES_URL").expect("tests on PostgreSQL have a server");
        let db = Db::open(&Secret::new(server), &[], DbOptions::default()).await.expect("the server");
        let url = database.url().expose();
        let path = url.split('?').next().unwrap_or_default();
        Account { db, name: path.rsplit('/').next().unwrap_or_default().to_owned() }
    }

    /// How many there were, once nobody is connected who could still have some to tell.
    async fn committed(&self) -> i64 {
        let connected =
            "SELECT COUNT(*) AS [n] FROM pg_stat_activity WHERE datname = ? AND backend_type = 'client backend'";
        let committed = "SELECT xact_commit AS [n] FROM pg_stat_database WHERE datname = ?";
        let number = async |sql: &str| {
            let rows = self.db.query(sql, [self.name.as_str()]).await.expect("an account");
            rows.iter().find_map(|row| row["n"].as_int()).expect("a number")
        };
        let all_gone = async {
            while number(connected).await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all_gone).await.expect("a service that stops lets go");
        number(committed).await
    }

    /// What a start, so many requests and a stop take.
    async fn of_requests(&self, database: &TestDatabase, proof: &str) -> i64 {
        let before = self.committed().await;
        let service = TestService::start_on(database.clone(), app).await;
        let client: Client = program(&service, proof);
        for _ in 0..REQUESTS {
            who_is(&client).await;
        }
        service.stop().await;
        self.committed().await - before
    }
}
