//! Each route, asked by each kind of caller.

use std::collections::BTreeMap;
use std::time::Duration;

use app_kernel::feature::auth::User;
use app_kernel::store::db::Db;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use axum::http::Method;

use super::rules::{RULES, Rule, WHO};
use super::stage::Stage;

on_every_database!(everybody_gets_what_the_rules_say_on_every_route);

/// The routes of a service's document, with their methods.
async fn documented(service: &TestService) -> Vec<(String, String)> {
    let document = service.anonymous().get("/openapi.json").await.expect(200).json();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let path = path.strip_prefix("/api/v1").unwrap_or(path);
        let methods = item.as_object().expect("methods").keys();
        let methods = methods.filter(|key| ["get", "put", "post", "delete", "patch"].contains(&key.as_str()));
        routes.extend(methods.map(|method| (method.clone(), path.to_owned())));
    }
    routes
}

/// What a request that is refused must not change: every saved row, and who is signed in. Mail is written beside the requests, and being
/// used changes nothing about a key.
async fn state(db: &Db) -> Vec<i64> {
    let changes = "SELECT COUNT(*) AS [n] FROM [kernel_changes] WHERE [entity] <> 'kernel_mail_tokens'";
    let sessions = "SELECT COUNT(*) AS [n] FROM [kernel_sessions] WHERE [revoked_at] IS NULL";
    let mut counts = Vec::new();
    for sql in [changes, sessions] {
        counts.extend(db.query(sql, ()).await.expect("a count").iter().filter_map(|row| row["n"].as_int()));
    }
    assert_eq!(counts.len(), 2);
    counts
}

/// Promise: R-27, H2, H3, H4, H5, M4
async fn everybody_gets_what_the_rules_say_on_every_route(database: TestDatabase) {
    let (backend, service) = (database.backend(), TestService::start_on(database, super::app).await);
    let routes = documented(&service).await;
    let rules: BTreeMap<(&str, &str), Rule> =
        RULES.iter().map(|(method, path, rule)| ((*method, *path), *rule)).collect();
    assert_eq!(rules.len(), RULES.len(), "a route has two rules");
    let rule_of = |method: &str, path: &str| rules.get(&(method, path)).copied();
    let undeclared: Vec<_> = routes.iter().filter(|(method, path)| rule_of(method, path).is_none()).collect();
    assert!(undeclared.is_empty(), "no rule says who may call {undeclared:?}; add a line to RULES");
    assert_eq!(routes.len(), RULES.len(), "a rule is about a route that is gone");

    let (db, first) = (service.db(), service.sign_up("first").await);
    let hash =
        db.find::<User>("[email_key] = ?", ["first@example.com"]).first().await.expect("a read").expect("she is there");
    let hash = hash.entity.password_hash.expect("a password");
    drop(first);
    let (mut stages, mut cells, mut findings) = (0, 0, Vec::new());
    for (method, path) in &routes {
        // Failures on one route leave no limit behind for the next.
        service.advance(Duration::from_secs(3600));
        stages += 1;
        let mut stage = Stage::set(&service, &hash, stages).await;
        let verb: Method = method.to_uppercase().parse().expect("a method");
        let expected = rule_of(method, path).expect("it was looked for").expected();
        for (i, (who, expected)) in WHO.iter().zip(expected).enumerate() {
            cells += 1;
            let body =
                if verb == Method::GET { Vec::new() } else { stage.body(method, path, cells).to_string().into_bytes() };
            let kind = (!body.is_empty()).then_some("application/json");
            let before = state(&db).await;
            let answer = stage.callers[i].send(verb.clone(), &stage.path(path), kind, body).await;
            let is_refused = answer.status >= 400;
            if answer.status != expected {
                findings.push(format!(
                    "{who}: {method} {path} is {}, not {expected}: {}",
                    answer.status,
                    answer.text()
                ));
            }
            if (is_refused || verb == Method::GET) && before != state(&db).await {
                findings.push(format!("{who}: {method} {path} was answered {} and changed something", answer.status));
            }
            if is_refused && stage.secrets().iter().any(|secret| answer.text().contains(secret)) {
                findings.push(format!("{who}: {method} {path} was refused and told something: {}", answer.text()));
            }
            if !is_refused && verb != Method::GET {
                stages += 1;
                stage = Stage::set(&service, &hash, stages).await;
            }
        }
    }
    // Those of webhooks, which reach nobody. Boxed, because the compiler looks into all that a test awaits.
    let jobs: futures_util::future::BoxFuture<'_, usize> = Box::pin(service.run_jobs());
    jobs.await;
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    println!(
        "R-27 held: {}, {} routes for {} kinds of callers, {cells} answers, no foreign read or write",
        backend.as_str(),
        routes.len(),
        WHO.len()
    );
}
