//! Signing up, signing in and staying signed in, as a client sees it, on every database.

mod accounts;
mod canaries;
mod flood;
mod limits;
mod log_in;
mod mailed;
mod mutations;
mod passwords;
mod refresh;
mod roles;
pub(crate) mod second_factor;
mod secrets;
mod sessions;
mod sign_up;
mod smtp;
mod tokens;

use app_kernel::feature::auth::{User, UserIdentity};
use app_kernel::prelude::*;
use app_kernel::store::db::Db;
use app_kernel::testing::service::PASSWORD;
use app_kernel::testing::{Answer, Client, TestDatabase, TestService};
use serde_json::json;

pub(crate) use self::tokens::{our_header, signed};

/// What the sessions of these tests are made of.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Tokens {
    #[track_caller]
    pub(crate) fn of(answer: &Answer) -> Self {
        let body = answer.json();
        let token = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("no {name}: {body}")).to_owned();
        Tokens { access: token("access_token"), refresh: token("refresh_token") }
    }

    /// The id of their session.
    pub(crate) fn session_id(&self) -> &str {
        &self.refresh[3..39]
    }
}

/// A service of nothing but auth, and three routes that ask who is there.
pub(crate) async fn start(database: TestDatabase) -> TestService {
    TestService::start_on(database, auth_only).await
}

pub(crate) fn auth_only(config: ServiceConfig) -> Service {
    Service::new("auth_tests", config)
        .api_keys(["*"])
        .route("/admin", get(async |_: AdminUser| "admin"))
        .route("/identity", get(async |user: CurrentUser| Json(UserIdentity::clone(&user))))
        .route(
            "/maybe",
            get(async |OptionalUser(user): OptionalUser| user.map_or("nobody".to_owned(), |user| user.email.clone())),
        )
}

pub(crate) fn address(name: &str) -> String {
    format!("{name}@example.com")
}

pub(crate) async fn sign_up(service: &TestService, name: &str) -> Answer {
    service.anonymous().post("/auth/register", json!({ "email": address(name), "password": PASSWORD })).await
}

pub(crate) async fn log_in_with(service: &TestService, name: &str, password: &str) -> Answer {
    service.anonymous().post("/auth/login", json!({ "email": address(name), "password": password })).await
}

pub(crate) async fn log_in(service: &TestService, name: &str) -> Tokens {
    Tokens::of(&log_in_with(service, name, PASSWORD).await.expect(200))
}

/// Somebody new, who is signed in.
pub(crate) async fn new_user(service: &TestService, name: &str) -> Tokens {
    sign_up(service, name).await.expect(201);
    log_in(service, name).await
}

pub(crate) async fn refresh(service: &TestService, token: &str) -> Answer {
    service.anonymous().post("/auth/refresh", json!({ "refresh_token": token })).await
}

/// A client with this access token.
pub(crate) fn with(service: &TestService, token: &str) -> Client {
    service.anonymous().with_token(token)
}

pub(crate) async fn me(service: &TestService, token: &str) -> Answer {
    with(service, token).get("/auth/me").await
}

pub(crate) async fn user_called(db: &Db, name: &str) -> Saved<User> {
    db.find::<User>("[email] = ?", [address(name)]).first().await.expect("a read").expect("a user")
}
