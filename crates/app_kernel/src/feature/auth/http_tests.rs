//! Auth as a client sees it, through the edge, on every database.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aide::axum::routing::get;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, StatusCode};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::base::clock::Timestamp;
use crate::base::error::Error;
use crate::base::secret::{Secret, random_token};
use crate::feature::workspaces::{self, Member, MemberRole, Workspace};
use crate::kernel::Kernel;
use crate::store::db::DbOptions;
use crate::testing::{TestDatabase, on_every_database};
use crate::web::edge::{Edge, EdgeRules};
use crate::web::openapi;

on_every_database!(
    who_signs_up_can_log_in_and_is_known,
    signing_up_makes_a_personal_workspace_or_nothing_at_all,
    nobody_signs_up_with_what_is_not_theirs_to_say,
    an_address_belongs_to_one_person_in_any_case_and_in_parallel,
    closed_sign_up_is_403,
    the_form_of_the_oauth2_password_flow_logs_in,
    known_unknown_and_inactive_people_are_answered_alike,
    a_refresh_token_is_good_once_and_its_replay_ends_the_session,
    a_replay_from_generations_ago_ends_the_session_and_a_guess_does_not,
    of_twenty_parallel_refreshes_one_succeeds_and_the_session_lives,
    a_replay_that_had_arrived_before_the_exchange_ends_nothing,
    a_refresh_token_ends_after_thirty_days,
    logging_out_ends_the_session_at_once,
    changing_the_password_ends_all_other_sessions,
    a_login_under_way_during_a_password_change_gets_no_session,
    a_deactivated_user_is_out_at_once_in_another_process,
    only_promotion_makes_an_admin,
    tokens_never_stand_in_for_each_other,
    an_access_token_expires,
    guessing_passwords_ends_in_429,
    odd_proofs_are_401_and_never_5xx,
    an_old_hash_is_renewed_at_login,
);

const PASSWORD: &str = "correct horse battery";

/// A service of nothing but auth, on a clock that stands still.
struct Service {
    auth: Arc<Auth>,
    edge: Edge,
    db: Db,
    clock: Clock,
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Value,
}

impl Answer {
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self
    }

    fn expect_code(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.body["code"], code, "{}", answer.body);
        answer
    }

    fn text(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_else(|| panic!("{name} in {}", self.body)).to_owned()
    }
}

fn config() -> ServiceConfig {
    ServiceConfig {
        jwt_secret: Some(Secret::new("0123456789abcdef0123456789abcdef")),
        allow_self_signup: true,
        ..ServiceConfig::default()
    }
}

impl Service {
    async fn start(database: &TestDatabase) -> Self {
        let clock = Clock::manual("2026-01-30T12:00:00Z".parse().expect("a time"));
        Self::start_with(database, config(), clock, workspaces::on_sign_up()).await
    }

    async fn start_with(database: &TestDatabase, config: ServiceConfig, clock: Clock, on_sign_up: OnSignUp) -> Self {
        let all: Vec<_> = entities().into_iter().chain(workspaces::entities()).collect();
        let options = DbOptions { clock: clock.clone(), ..DbOptions::default() };
        let db = Db::open(database.url(), &all, options).await.expect("a database");
        db.migrate().await.expect("the tables");
        let auth = Auth::new(&config, clock.clone(), db.clone(), on_sign_up).expect("a secret");
        let kernel = Kernel::new(config.clone(), clock.clone(), Some(db.clone()));
        let api = routes(Arc::clone(&auth)).api_route("/admin", get(async |_: AdminUser| "admin")).api_route(
            "/maybe",
            get(async |OptionalUser(user): OptionalUser| user.map_or("nobody".to_owned(), |user| user.email.clone())),
        );
        let (router, _) =
            openapi::assemble(api, aide::axum::ApiRouter::new(), &kernel, "auth_tests", "1").expect("routes");
        let rules = EdgeRules::from_config(&config).expect("rules");
        let edge = Edge::new(router, Arc::new(rules), Some(Arc::clone(&auth) as _));
        Service { auth, edge, db, clock }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.edge.clone().oneshot(request).await.expect("the edge always answers");
        let (parts, body) = response.into_parts();
        let body = to_bytes(Body::new(body), 1 << 20).await.expect("a body");
        let body = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.send(request("POST", path, token, "application/json", body.to_string())).await
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(request("GET", path, token, "application/json", String::new())).await
    }

    async fn sign_up(&self, name: &str) -> Answer {
        self.post("/auth/register", "", json!({ "email": address(name), "password": PASSWORD })).await
    }

    async fn log_in(&self, name: &str) -> Tokens {
        let answer = self.post("/auth/login", "", json!({ "email": address(name), "password": PASSWORD })).await;
        Tokens::of(&answer.expect(200))
    }

    /// Somebody new, who is signed in.
    async fn new_user(&self, name: &str) -> Tokens {
        self.sign_up(name).await.expect(201);
        self.log_in(name).await
    }

    async fn refresh(&self, token: &str) -> Answer {
        self.post("/auth/refresh", "", json!({ "refresh_token": token })).await
    }
}

#[derive(Clone)]
struct Tokens {
    access: String,
    refresh: String,
}

impl Tokens {
    fn of(answer: &Answer) -> Self {
        Tokens { access: answer.text("access_token"), refresh: answer.text("refresh_token") }
    }
}

fn address(name: &str) -> String {
    format!("{name}@example.com")
}

fn request(method: &str, path: &str, token: &str, media: &str, body: String) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if !body.is_empty() {
        request = request.header("content-type", media);
    }
    let client = ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 4000)));
    request.extension(client).body(Body::from(body)).expect("a request")
}

/// Promise: F1, F3, A8, B1
async fn who_signs_up_can_log_in_and_is_known(database: TestDatabase) {
    let service = Service::start(&database).await;
    let body = json!({ "email": " Ann@Example.com ", "password": PASSWORD, "name": "Ann" });
    let registered = service.post("/api/v1/auth/register", "", body).await.expect(201).body;
    assert_eq!(registered["email"], "Ann@Example.com");
    assert_eq!(
        (&registered["name"], &registered["role"], &registered["is_active"]),
        (&json!("Ann"), &json!("user"), &json!(true))
    );
    assert_eq!(registered["created_at"], "2026-01-30T12:00:00.000000Z");
    assert_eq!(registered.as_object().expect("an object").len(), 7, "no hash, no token: {registered}");

    let body = json!({ "email": "ANN@example.COM", "password": PASSWORD });
    let login = service.post("/auth/login", "", body).await.expect(200);
    assert_eq!((&login.body["token_type"], &login.body["expires_in"]), (&json!("bearer"), &json!(86_400)));
    assert_eq!(login.headers["cache-control"], "no-store");
    let me = service.get("/auth/me", &login.text("access_token")).await.expect(200).body;
    assert_eq!(me, registered);

    service.get("/auth/me", "").await.expect_code(401, "unauthenticated");
    assert_eq!(service.get("/maybe", "").await.expect(200).body, "nobody");
    assert_eq!(service.get("/maybe", &login.text("access_token")).await.expect(200).body, "Ann@Example.com");
}

/// Promise: A7, H1
async fn signing_up_makes_a_personal_workspace_or_nothing_at_all(database: TestDatabase) {
    let service = Service::start(&database).await;
    let user = service.sign_up("ann").await.expect(201);
    let workspace =
        service.db.get::<Workspace>(&user.text("workspace_id")).await.expect("a read").expect("a workspace");
    assert_eq!((workspace.name.as_str(), workspace.is_personal), ("ann", true));
    assert_eq!(workspace.created_by_user_id, user.text("id"));
    let members = service.db.find::<Member>("[workspace_id] = ?", [workspace.id.as_str()]).await.expect("members");
    assert_eq!(members.len(), 1);
    assert_eq!((members[0].user_id.as_str(), members[0].role), (user.text("id").as_str(), MemberRole::Owner));

    let makes_and_fails: OnSignUp = Arc::new(|tx, who| {
        Box::pin(async move {
            let workspace = Workspace { name: who.display_name, is_personal: true, created_by_user_id: who.user_id };
            tx.save(workspace).await?;
            Err(Error::unavailable("no room for workspaces"))
        })
    });
    let failing = Service::start_with(&database, config(), service.clock.clone(), makes_and_fails).await;
    failing.sign_up("bob").await.expect(503);
    assert_eq!(service.db.count::<User>("", ()).await.expect("a count"), 1);
    assert_eq!(service.db.count::<Workspace>("", ()).await.expect("a count"), 1);
    service.sign_up("bob").await.expect(201);
}

/// Promise: F5
async fn nobody_signs_up_with_what_is_not_theirs_to_say(database: TestDatabase) {
    let service = Service::start(&database).await;
    for (field, value) in [
        ("role", json!("admin")),
        ("is_active", json!(true)),
        ("id", json!("root")),
        ("email_verified_at", json!("2026-01-30T12:00:00Z")),
    ] {
        let mut body = json!({ "email": "eve@example.com", "password": PASSWORD });
        body[field] = value;
        let answer = service.post("/auth/register", "", body).await.expect(422);
        assert_eq!(answer.body["errors"][0]["pointer"], format!("/{field}"), "{}", answer.body);
    }
    let body = json!({ "email": "eve", "password": "short", "name": "e\u{7}ve" });
    let answer = service.post("/auth/register", "", body).await.expect(422);
    let wrong: Vec<&str> = answer.body["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .filter_map(|error| error["pointer"].as_str())
        .collect();
    assert_eq!(wrong, ["/email", "/password", "/name"]);
    let body = json!({ "email": "eve@example.com", "password": PASSWORD, "invite_token": "made up" });
    service.post("/auth/register", "", body).await.expect(422);
    service.post("/auth/register", "", json!({ "password": PASSWORD })).await.expect(422);
    assert_eq!(service.db.count::<User>("", ()).await.expect("a count"), 0);
}

/// Promise: F1
async fn an_address_belongs_to_one_person_in_any_case_and_in_parallel(database: TestDatabase) {
    let service = Service::start(&database).await;
    service.sign_up("ann").await.expect(201);
    service.sign_up("ann").await.expect_code(409, "duplicate");
    service.sign_up("ANN").await.expect(409);
    let attempts = join_all((0..20).map(|n| service.sign_up(if n % 2 == 0 { "bob" } else { "Bob" }))).await;
    let made = attempts.iter().filter(|answer| answer.status == 201).count();
    let refused = attempts.iter().filter(|answer| answer.status == 409).count();
    assert_eq!((made, refused), (1, 19));
    let (users, workspaces) = (service.db.count::<User>("", ()).await, service.db.count::<Workspace>("", ()).await);
    assert_eq!((users.expect("a count"), workspaces.expect("a count")), (2, 2));
}

/// Promise: F4
async fn closed_sign_up_is_403(database: TestDatabase) {
    let closed = ServiceConfig { allow_self_signup: false, ..config() };
    let service = Service::start_with(&database, closed, Clock::system(), workspaces::on_sign_up()).await;
    service.sign_up("ann").await.expect_code(403, "signup_closed");
}

/// Promise: F1
async fn the_form_of_the_oauth2_password_flow_logs_in(database: TestDatabase) {
    let service = Service::start(&database).await;
    service.sign_up("ann").await.expect(201);
    let form = |body: &str| {
        request("POST", "/api/v1/auth/login", "", "application/x-www-form-urlencoded; charset=utf-8", body.to_owned())
    };
    let grant = "grant_type=password&username=ann%40example.com&password=correct+horse+battery&scope=";
    let tokens = Tokens::of(&service.send(form(grant)).await.expect(200));
    service.get("/auth/me", &tokens.access).await.expect(200);
    service.send(form("username=ann%40example.com&password=correct+horse+battery")).await.expect(200);
    service.send(form("username=ann%40example.com&password=wrong")).await.expect_code(401, "invalid_credentials");
    let other = "grant_type=client_credentials&username=ann%40example.com&password=correct+horse+battery";
    service.send(form(other)).await.expect_code(400, "unsupported_grant_type");
    service.send(form("username=ann%40example.com")).await.expect(422);

    service.post("/auth/login", "", json!({ "username": "ann@example.com", "password": PASSWORD })).await.expect(200);
    let answer = service.post("/auth/login", "", json!({ "password": PASSWORD })).await.expect(422);
    assert_eq!(answer.body["errors"][0]["pointer"], "/email");
    service.send(request("POST", "/auth/login", "", "text/plain", "ann".to_owned())).await.expect(415);
}

/// Promise: R-24
async fn known_unknown_and_inactive_people_are_answered_alike(database: TestDatabase) {
    let service = Service::start(&database).await;
    service.sign_up("ann").await.expect(201);
    service.sign_up("gone").await.expect(201);
    set_inactive(&service.db, "gone").await;
    let mut answers = Vec::new();
    for (name, password) in [("ann", "wrong horse"), ("nobody", PASSWORD), ("gone", PASSWORD), ("gone", "wrong horse")]
    {
        let answer =
            service.post("/auth/login", "", json!({ "email": address(name), "password": password })).await.expect(401);
        let mut body = answer.body;
        body["request_id"].take();
        let mut headers = answer.headers;
        headers.remove("x-request-id");
        answers.push((body, format!("{headers:?}")));
    }
    assert_eq!(answers[0].0["code"], "invalid_credentials");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

async fn set_inactive(db: &Db, name: &str) {
    let mut user = db.find::<User>("[email] = ?", [address(name)]).first().await.expect("a read").expect("a user");
    user.is_active = false;
    db.save(user).await.expect("saved");
}

/// Promise: R-23
async fn a_refresh_token_is_good_once_and_its_replay_ends_the_session(database: TestDatabase) {
    let service = Service::start(&database).await;
    let first = service.new_user("ann").await;
    let second = Tokens::of(&service.refresh(&first.refresh).await.expect(200));
    assert_ne!((&first.refresh, &first.access), (&second.refresh, &second.access));
    service.get("/auth/me", &first.access).await.expect(200);
    let third = Tokens::of(&service.refresh(&second.refresh).await.expect(200));
    service.get("/auth/me", &third.access).await.expect(200);

    service.refresh(&second.refresh).await.expect_code(401, "invalid_refresh_token");
    for tokens in [first, second, third] {
        service.get("/auth/me", &tokens.access).await.expect_code(401, "session_ended");
        service.refresh(&tokens.refresh).await.expect_code(401, "invalid_refresh_token");
    }
    service.log_in("ann").await;
}

/// Promise: R-23
async fn a_replay_from_generations_ago_ends_the_session_and_a_guess_does_not(database: TestDatabase) {
    let service = Service::start(&database).await;
    let first = service.new_user("ann").await;
    let mut last = first.clone();
    for _ in 0..3 {
        last = Tokens::of(&service.refresh(&last.refresh).await.expect(200));
    }
    let guess = format!("{}{}", &first.refresh[..40], random_token());
    service.refresh(&guess).await.expect(401);
    service.get("/auth/me", &last.access).await.expect(200);

    // Another process, long after: it knows of no exchange but from the database.
    service.clock.advance(Duration::from_secs(3));
    let other = Service::start_with(&database, config(), service.clock.clone(), workspaces::on_sign_up()).await;
    other.refresh(&first.refresh).await.expect(401);
    other.get("/auth/me", &last.access).await.expect_code(401, "session_ended");
    other.refresh(&last.refresh).await.expect(401);
}

/// Promise: R-23
async fn of_twenty_parallel_refreshes_one_succeeds_and_the_session_lives(database: TestDatabase) {
    let service = Service::start(&database).await;
    let other = Service::start_with(&database, config(), service.clock.clone(), workspaces::on_sign_up()).await;
    let mut tokens = service.new_user("ann").await;
    for _ in 0..5 {
        let attempts = (0..20).map(|n| if n % 2 == 0 { &service } else { &other }.refresh(&tokens.refresh));
        let mut answers = join_all(attempts).await;
        answers.retain(|answer| answer.status != 401);
        assert_eq!(answers.len(), 1);
        tokens = Tokens::of(&answers.remove(0).expect(200));
        service.get("/auth/me", &tokens.access).await.expect(200);
    }
    let last = Tokens::of(&service.refresh(&tokens.refresh).await.expect(200));
    service.refresh(&tokens.refresh).await.expect(401);
    service.get("/auth/me", &last.access).await.expect_code(401, "session_ended");
}

/// Promise: R-23
async fn a_replay_that_had_arrived_before_the_exchange_ends_nothing(database: TestDatabase) {
    let service = Service::start(&database).await;
    let tokens = service.new_user("ann").await;
    // Its head arrives now, its body only after another request has exchanged the token.
    let (release, held) = tokio::sync::oneshot::channel::<()>();
    let body = json!({ "refresh_token": tokens.refresh }).to_string();
    let slow = Body::from_stream(futures_util::stream::once(async move {
        held.await.map(|()| body).map_err(|_| std::io::Error::other("let go"))
    }));
    let (parts, _) = request("POST", "/auth/refresh", "", "application/json", "{}".to_owned()).into_parts();
    let mut slow = Box::pin(service.send(Request::from_parts(parts, slow)));
    assert!(futures_util::poll!(slow.as_mut()).is_pending());
    let next = Tokens::of(&service.refresh(&tokens.refresh).await.expect(200));
    release.send(()).expect("the request waits");
    slow.await.expect_code(401, "invalid_refresh_token");
    service.get("/auth/me", &next.access).await.expect(200);
    service.refresh(&next.refresh).await.expect(200);
}

/// Promise: F1
async fn a_refresh_token_ends_after_thirty_days(database: TestDatabase) {
    let service = Service::start(&database).await;
    let day = Duration::from_secs(24 * 3600);
    let tokens = service.new_user("ann").await;
    service.clock.advance(day * 30 - Duration::from_secs(1));
    let next = Tokens::of(&service.refresh(&tokens.refresh).await.expect(200));
    service.get("/auth/me", &next.access).await.expect(200);
    service.clock.advance(day * 30);
    service.refresh(&next.refresh).await.expect(401);
}

/// Promise: R-22
async fn logging_out_ends_the_session_at_once(database: TestDatabase) {
    let service = Service::start(&database).await;
    let (here, there) = (service.new_user("ann").await, service.log_in("ann").await);
    service.get("/auth/me", &here.access).await.expect(200);
    service.send(request("POST", "/auth/logout", &here.access, "", String::new())).await.expect(204);
    service.get("/auth/me", &here.access).await.expect_code(401, "session_ended");
    service.refresh(&here.refresh).await.expect(401);
    service.post("/auth/logout", &here.access, json!({})).await.expect(401);
    service.get("/auth/me", &there.access).await.expect(200);

    service.post("/auth/logout", "", json!({ "refresh_token": there.refresh })).await.expect(204);
    service.get("/auth/me", &there.access).await.expect_code(401, "session_ended");
    service.post("/auth/logout", "", json!({ "refresh_token": there.refresh })).await.expect(401);
    service.post("/auth/logout", "", json!({})).await.expect(401);

    let late = service.log_in("ann").await;
    service.clock.advance(Duration::from_secs(24 * 3600));
    service.post("/auth/logout", &late.access, json!({})).await.expect_code(401, "token_expired");
    service.post("/auth/logout", &late.access, json!({ "refresh_token": late.refresh })).await.expect(204);
    service.refresh(&late.refresh).await.expect(401);
}

/// Promise: R-22
async fn changing_the_password_ends_all_other_sessions(database: TestDatabase) {
    let service = Service::start(&database).await;
    let (here, there) = (service.new_user("ann").await, service.log_in("ann").await);
    service.get("/auth/me", &there.access).await.expect(200);
    let change = |present: &str, new: &str| json!({ "current_password": present, "new_password": new });
    service
        .post("/auth/change-password", &here.access, change("wrong horse", "a new password"))
        .await
        .expect_code(400, "wrong_password");
    service.post("/auth/change-password", &here.access, change(PASSWORD, "short")).await.expect(422);
    service.post("/auth/change-password", "", change(PASSWORD, "a new password")).await.expect(401);
    service.get("/auth/me", &there.access).await.expect(200);

    service.post("/auth/change-password", &here.access, change(PASSWORD, "a new password")).await.expect(204);
    service.get("/auth/me", &there.access).await.expect_code(401, "session_ended");
    service.refresh(&there.refresh).await.expect(401);
    service.get("/auth/me", &here.access).await.expect(200);
    let next = Tokens::of(&service.refresh(&here.refresh).await.expect(200));
    service.get("/auth/me", &next.access).await.expect(200);
    service.post("/auth/login", "", json!({ "email": address("ann"), "password": PASSWORD })).await.expect(401);
    service.post("/auth/login", "", json!({ "email": address("ann"), "password": "a new password" })).await.expect(200);
}

/// Promise: R-22
async fn a_login_under_way_during_a_password_change_gets_no_session(database: TestDatabase) {
    let service = Service::start(&database).await;
    let here = service.new_user("ann").await;
    // As it stood when the login read it: the session it begins belongs to the old password.
    let read_before = service.db.find::<User>("", ()).first().await.expect("a read").expect("a user");
    let change = json!({ "current_password": PASSWORD, "new_password": "a new password" });
    service.post("/auth/change-password", &here.access, change).await.expect(204);
    let (session, user_id) = (session_of(&here), read_before.id.clone());
    let late = Session { epoch: read_before.session_epoch, revoked_at: None, ..read(&service.db, &session).await };
    let late = service.db.save(late).await.expect("saved");
    let token = service.auth.keys.sign_access(&user_id, &late.id);
    service.get("/auth/me", &token).await.expect_code(401, "session_ended");
}

fn session_of(tokens: &Tokens) -> String {
    tokens.refresh[3..39].to_owned()
}

async fn read(db: &Db, session_id: &str) -> Session {
    db.get::<Session>(session_id).await.expect("a read").expect("a session").entity
}

/// Promise: R-22
async fn a_deactivated_user_is_out_at_once_in_another_process(database: TestDatabase) {
    let service = Service::start(&database).await;
    let tokens = service.new_user("ann").await;
    set_inactive(&service.db, "ann").await;
    service.get("/auth/me", &tokens.access).await.expect_code(401, "session_ended");
    service.refresh(&tokens.refresh).await.expect(401);
}

/// Promise: F2, F5
async fn only_promotion_makes_an_admin(database: TestDatabase) {
    let service = Service::start(&database).await;
    let tokens = service.new_user("ann").await;
    service.get("/admin", "").await.expect(401);
    service.get("/admin", &tokens.access).await.expect_code(403, "forbidden");
    let user = promote(&service.db, " ANN@example.com ").await.expect("a user");
    service.auth.identities.forget_user(&user.id);
    assert_eq!(service.get("/admin", &tokens.access).await.expect(200).body, "admin");
    assert_eq!(service.get("/auth/me", &tokens.access).await.expect(200).text("role"), "admin");
    demote(&service.db, "ann@example.com").await.expect("a user");
    service.auth.identities.forget_user(&user.id);
    service.get("/admin", &tokens.access).await.expect(403);
    assert_eq!(promote(&service.db, "bob@example.com").await.expect_err("nobody").http_status(), 404);
}

/// Promise: R-21
async fn tokens_never_stand_in_for_each_other(database: TestDatabase) {
    let service = Service::start(&database).await;
    let tokens = service.new_user("ann").await;
    service.get("/auth/me", &tokens.refresh).await.expect(401);
    service.refresh(&tokens.access).await.expect(401);
    let bob = service.new_user("bob").await;
    let bobs_id = service.get("/auth/me", &bob.access).await.text("id");
    let mixed = service.auth.keys.sign_access(&bobs_id, &session_of(&tokens));
    service.get("/auth/me", &mixed).await.expect_code(401, "session_ended");
    service.get("/auth/me", &tokens.access).await.expect(200);
    service.get("/auth/me", &mixed).await.expect_code(401, "session_ended");
}

/// Promise: F4
async fn an_access_token_expires(database: TestDatabase) {
    let service = Service::start(&database).await;
    let tokens = service.new_user("ann").await;
    service.clock.advance(Duration::from_secs(24 * 3600));
    service.get("/auth/me", &tokens.access).await.expect_code(401, "token_expired");
    service.get("/maybe", &tokens.access).await.expect_code(401, "token_expired");
    service.refresh(&tokens.refresh).await.expect(200);
}

/// Promise: R-24
async fn guessing_passwords_ends_in_429(database: TestDatabase) {
    let service = Service::start(&database).await;
    service.sign_up("ann").await.expect(201);
    for name in ["ann", "nobody"] {
        let guess = json!({ "email": address(name), "password": "wrong horse" });
        for _ in 0..20 {
            service.post("/auth/login", "", guess.clone()).await.expect(401);
        }
        let answer = service.post("/auth/login", "", guess).await.expect_code(429, "too_many_attempts");
        assert_eq!(answer.headers["retry-after"], "15");
    }
    service.clock.advance(Duration::from_secs(15));
    service.log_in("ann").await;
}

/// Promise: R-21
async fn odd_proofs_are_401_and_never_5xx(database: TestDatabase) {
    let service = Service::start(&database).await;
    for (value, status) in [
        (&b"Bearer"[..], 401),
        (b"Bearer ", 401),
        (b"bearer x", 401),
        (b"Bearer \xff\xfe", 401),
        (b"Bearer a.b.c", 401),
        (b"Bearer eyJhbGciOiJub25lIn0.e30.", 401),
        (b"Basic YW5uOnB3", 401),
        (b"", 401),
    ] {
        let mut request = request("GET", "/auth/me", "", "", String::new());
        request.headers_mut().insert("authorization", HeaderValue::from_bytes(value).expect("a header"));
        let answer = service.send(request).await.expect_code(status, "unauthenticated");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    for body in [
        json!({ "refresh_token": "" }),
        json!({ "refresh_token": "rt_\u{0}_é" }),
        json!({ "refresh_token": "x".repeat(100_000) }),
    ] {
        service.post("/auth/refresh", "", body).await.expect(401);
    }
    for (email, password) in [
        ("\u{0}", "\u{0}"),
        ("' OR 1=1 --@x", "x"),
        ("ann@example.com", &"x".repeat(100_000)),
        (&"x".repeat(100_000), "x"),
    ] {
        service.post("/auth/login", "", json!({ "email": email, "password": password })).await.expect(401);
    }
}

async fn an_old_hash_is_renewed_at_login(database: TestDatabase) {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version, password_hash::phc::PasswordHash};
    let service = Service::start(&database).await;
    service.sign_up("ann").await.expect(201);
    let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).expect("parameters"));
    let weak: PasswordHash = weak.hash_password_with_salt(PASSWORD.as_bytes(), &[7; 16]).expect("a hash");
    let first = |db: Db| async move { db.find::<User>("", ()).first().await.expect("a read").expect("a user") };
    let mut user = first(service.db.clone()).await;
    user.password_hash = Some(Secret::new(weak.to_string()));
    service.db.save(user).await.expect("saved");
    service.log_in("ann").await;
    let hash = first(service.db.clone()).await.entity.password_hash.expect("a hash");
    assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    service.log_in("ann").await;
}

/// What is stored can't be used to sign in, and the history does not have it either.
///
/// Promise: R-32
#[tokio::test]
async fn no_secret_is_stored_readable_or_kept_in_the_history() {
    let database = TestDatabase::sqlite().await;
    let service = Service::start(&database).await;
    let tokens = service.new_user("ann").await;
    let user = service.db.find::<User>("", ()).first().await.expect("a read").expect("a user");
    assert!(!format!("{user:?}").contains("argon2id"));
    let versions = service.db.history::<User>(&user.id).await.expect("versions");
    assert!(!versions.is_empty());
    assert!(!format!("{versions:?}").contains("argon2id"), "{versions:?}");
    let session = read(&service.db, &session_of(&tokens)).await;
    assert_ne!(session.refresh_hash.expose(), tokens.refresh);
    assert_eq!(session.expires_at, service.clock.now() + jiff::SignedDuration::from_hours(30 * 24));
    assert!(session.expires_at > Timestamp::UNIX_EPOCH);
}
