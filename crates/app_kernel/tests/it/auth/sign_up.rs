//! Who gets in, and as what.

use app_kernel::feature::auth::User;
use app_kernel::feature::workspaces::{Member, MemberRole, Workspace};
use app_kernel::prelude::*;
use app_kernel::testing::service::PASSWORD;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use futures_util::future::join_all;
use serde_json::json;

use super::{Tokens, auth_only, log_in, me, sign_up, start};

on_every_database!(
    who_signs_up_can_log_in_and_is_known,
    signing_up_makes_a_personal_workspace_or_nothing_at_all,
    nobody_signs_up_with_what_is_not_theirs_to_say,
    an_address_belongs_to_one_person_in_any_case_and_in_parallel,
);

/// Promise: A8, B1, F1
async fn who_signs_up_can_log_in_and_is_known(database: TestDatabase) {
    let service = start(database).await;
    let anonymous = service.anonymous();
    let body = json!({ "email": " Ann@Example.com ", "password": PASSWORD, "name": "Ann" });
    let registered = anonymous.post("/api/v1/auth/register", body).await.expect(201).json();
    assert_eq!(registered["email"], "Ann@Example.com");
    assert_eq!(
        (&registered["name"], &registered["role"], &registered["is_active"]),
        (&json!("Ann"), &json!("user"), &json!(true))
    );
    assert_eq!(registered["created_at"], service.now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string());
    assert!(registered["workspace_id"].is_string(), "{registered}");
    assert_eq!(registered.as_object().expect("an object").len(), 8, "no hash, no token: {registered}");

    let body = json!({ "email": "ANN@example.COM", "password": PASSWORD });
    let login = anonymous.post("/auth/login", body).await.expect(200);
    assert_eq!((&login.json()["token_type"], &login.json()["expires_in"]), (&json!("bearer"), &json!(86_400)));
    assert_eq!(login.header("cache-control"), Some("no-store"));
    let tokens = Tokens::of(&login);
    assert_eq!(me(&service, &tokens.access).await.expect(200).json(), registered);

    anonymous.get("/auth/me").await.expect_problem(401, "unauthenticated");
    assert_eq!(anonymous.get("/maybe").await.expect(200).text(), "nobody");
    let ann = anonymous.with_token(&tokens.access);
    assert_eq!(ann.get("/maybe").await.expect(200).text(), "Ann@Example.com");
}

/// Promise: A7, H1
async fn signing_up_makes_a_personal_workspace_or_nothing_at_all(database: TestDatabase) {
    let service = start(database).await;
    let db = service.db();
    let user = sign_up(&service, "ann").await.expect(201).json();
    let (id, workspace_id) = (user["id"].as_str().expect("an id"), user["workspace_id"].as_str().expect("an id"));
    let workspace = db.get::<Workspace>(workspace_id).await.expect("a read").expect("a workspace");
    assert_eq!((workspace.name.as_str(), workspace.is_personal), ("ann", true));
    assert_eq!(workspace.created_by_user_id, id);
    let members = db.find::<Member>("[workspace_id] = ?", [workspace_id]).await.expect("members");
    assert_eq!(members.len(), 1);
    assert_eq!((members[0].user_id.as_str(), members[0].role), (id, MemberRole::Owner));

    // The last of the three rows can't be written, so none is.
    let rename = async |from: &str, to: &str| {
        db.execute(format!("ALTER TABLE [{from}] RENAME TO [{to}]"), ()).await.expect("another name");
    };
    rename("kernel_workspace_members", "away").await;
    sign_up(&service, "bob").await.expect_problem(500, "internal");
    rename("away", "kernel_workspace_members").await;
    assert_eq!(db.count::<User>("", ()).await.expect("a count"), 1);
    assert_eq!(db.count::<Workspace>("", ()).await.expect("a count"), 1);
    sign_up(&service, "bob").await.expect(201);
}

/// Promise: F5
async fn nobody_signs_up_with_what_is_not_theirs_to_say(database: TestDatabase) {
    let service = start(database).await;
    let register = async |body| service.anonymous().post("/auth/register", body).await.expect(422);
    for (field, value) in [
        ("role", json!("admin")),
        ("is_active", json!(true)),
        ("id", json!("root")),
        ("email_verified_at", json!("2026-01-30T12:00:00Z")),
    ] {
        let mut body = json!({ "email": "eve@example.com", "password": PASSWORD });
        body[field] = value;
        assert_eq!(register(body).await.wrong_fields(), [format!("/{field}")]);
    }
    let body = json!({ "email": "eve", "password": "short", "name": "e\u{7}ve" });
    assert_eq!(register(body).await.wrong_fields(), ["/email", "/password", "/name"]);
    register(json!({ "email": "eve@example.com", "password": PASSWORD, "invite_token": "made up" })).await;
    register(json!({ "password": PASSWORD })).await;
    assert_eq!(service.db().count::<User>("", ()).await.expect("a count"), 0);
}

/// Promise: F1, R-29
async fn an_address_belongs_to_one_person_in_any_case_and_in_parallel(database: TestDatabase) {
    let service = start(database).await;
    sign_up(&service, "ann").await.expect(201);
    assert_eq!(sign_up(&service, "ann").await.expect_problem(409, "duplicate").wrong_fields(), ["/email"]);
    sign_up(&service, "ANN").await.expect_problem(409, "duplicate");
    let attempts = join_all((0..20).map(|n| sign_up(&service, if n % 2 == 0 { "bob" } else { "Bob" }))).await;
    let (made, refused): (Vec<_>, Vec<_>) = attempts.into_iter().partition(|answer| answer.status == 201);
    assert_eq!((made.len(), refused.len()), (1, 19));
    for answer in refused {
        answer.expect_problem(409, "duplicate");
    }
    log_in(&service, "bob").await;
    let (users, workspaces) = (service.db().count::<User>("", ()).await, service.db().count::<Workspace>("", ()).await);
    assert_eq!((users.expect("a count"), workspaces.expect("a count")), (2, 2));
}

/// Promise: F4
#[tokio::test]
async fn closed_sign_up_is_403() {
    let close = |config| auth_only(ServiceConfig { allow_self_signup: false, ..config });
    let service = TestService::start(close).await;
    sign_up(&service, "ann").await.expect_problem(403, "signup_closed");
    assert_eq!(service.db().count::<User>("", ()).await.expect("a count"), 0);
}

/// Promise: B1, F4
#[tokio::test]
async fn without_a_secret_or_switched_off_there_is_no_auth() {
    for change in [
        (|config: ServiceConfig| ServiceConfig { jwt_secret: None, ..config }) as fn(_) -> _,
        |config| ServiceConfig { auth_enabled: false, ..config },
        |config| ServiceConfig { database_url: None, ..config },
    ] {
        let service = TestService::start(|config| auth_only(change(config))).await;
        for path in ["/auth/register", "/auth/login", "/auth/refresh", "/api/v1/auth/login"] {
            service.anonymous().post(path, json!({})).await.expect_problem(404, "not_found");
        }
        service.anonymous().get("/auth/me").await.expect_problem(404, "not_found");
        let document = service.anonymous().get("/openapi.json").await.expect(200).json();
        let paths = document["paths"].as_object().expect("paths").keys();
        assert!(paths.clone().all(|path| !path.contains("/auth/")), "{paths:?}");
    }
}
