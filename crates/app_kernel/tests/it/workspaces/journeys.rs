//! Workspaces from the first to the last day.

use app_kernel::feature::auth::User;
use app_kernel::feature::workspaces::{MemberRole, Workspace};
use app_kernel::testing::service::PASSWORD;
use app_kernel::testing::{TestDatabase, on_every_database};
use futures_util::future::join_all;
use serde_json::json;

use super::{make_workspace, people, person, put, start};

on_every_database!(
    a_workspace_is_made_listed_renamed_and_deleted,
    roles_change_and_people_come_and_go,
    of_two_last_owners_who_leave_at_once_one_stays,
    an_owner_who_was_deactivated_is_not_the_one_who_stays,
);

/// Promise: H1, H2
async fn a_workspace_is_made_listed_renamed_and_deleted(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob) = (person(&service, "ann").await, person(&service, "bob").await);
    let made = ann.client.post("/api/v1/workspaces", json!({ "name": "  Acme " })).await.expect(201);
    let (id, view) = (made.id(), made.json());
    assert_eq!(made.header("location"), Some(format!("/api/v1/workspaces/{id}").as_str()));
    assert_eq!((&view["name"], &view["role"], &view["is_personal"]), (&json!("Acme"), &json!("owner"), &json!(false)));
    let mine = ann.client.get("/workspaces").await.expect(200).json();
    let names: Vec<_> = mine.as_array().expect("a list").iter().map(|w| (&w["name"], &w["is_personal"])).collect();
    assert_eq!(names, [(&json!("ann"), &json!(true)), (&json!("Acme"), &json!(false))]);
    assert_eq!(bob.client.get("/workspaces").await.expect(200).json().as_array().map(Vec::len), Some(1));

    let path = format!("/workspaces/{id}");
    assert_eq!(ann.client.get(&path).await.expect(200).json(), view);
    bob.client.get(&path).await.expect_problem(404, "not_found");
    let nowhere = bob.client.get("/workspaces/01a20670-2a4e-769f-a3b2-302cc645dab0").await.expect(404).json();
    let hidden = bob.client.get(&path).await.expect(404).json();
    assert_eq!(hidden["detail"], nowhere["detail"], "one answer for those of others and for none");

    assert_eq!(ann.client.patch(&path, json!({ "name": "Acme & Co" })).await.expect(200).json()["name"], "Acme & Co");
    for (body, field) in [(json!({ "name": " " }), "/name"), (json!({ "name": "x", "role": "owner" }), "/role")] {
        assert_eq!(ann.client.patch(&path, body).await.expect(422).wrong_fields(), [field]);
    }
    ann.client.delete(&path).await.expect(204);
    ann.client.get(&path).await.expect_problem(404, "not_found");
    ann.client.delete(&path).await.expect_problem(404, "not_found");
    assert_eq!(ann.client.get("/workspaces").await.expect(200).json().as_array().map(Vec::len), Some(1));
    let kept = service.db().get::<Workspace>(&id).include_deleted().await.expect("a read").expect("softly deleted");
    assert!(kept.deleted_at.is_some());
    let versions = service.db().history::<Workspace>(&id).await.expect("a history");
    assert_eq!(versions[0].user_id.as_deref(), Some(&*ann.id));

    let personal = format!("/workspaces/{}", ann.personal);
    ann.client.delete(&personal).await.expect_problem(409, "personal_workspace");
    ann.client
        .post(&format!("{personal}/invite"), json!({ "email": "bob@example.com" }))
        .await
        .expect_problem(409, "personal_workspace");
    ann.client.delete(&format!("{personal}/members/{}", ann.id)).await.expect_problem(409, "last_owner");
    ann.client.patch(&personal, json!({ "name": "my place" })).await.expect(200);
}

/// Promise: H4
async fn roles_change_and_people_come_and_go(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob, cy) = (person(&service, "ann").await, person(&service, "bob").await, person(&service, "cy").await);
    let id = make_workspace(&ann.client, "Acme").await;
    put(&service, &id, &bob.id, MemberRole::Admin).await;
    put(&service, &id, &cy.id, MemberRole::Member).await;
    let member = |who: &str| format!("/workspaces/{id}/members/{who}");
    let named = |people: &[(&str, &str)]| -> Vec<(String, String)> {
        people.iter().map(|(name, role)| ((*name).to_owned(), (*role).to_owned())).collect()
    };
    assert_eq!(people(&cy.client, &id).await, named(&[("ann", "owner"), ("bob", "admin"), ("cy", "member")]));

    // Admins promote members, but make no owners and touch none.
    let role = |role: &str| json!({ "role": role });
    let changed = bob.client.patch(&member(&cy.id), role("admin")).await.expect(200).json();
    assert_eq!((&changed["role"], &changed["email"]), (&json!("admin"), &json!("cy@example.com")));
    bob.client.patch(&member(&cy.id), role("owner")).await.expect_problem(403, "forbidden");
    bob.client.patch(&member(&bob.id), role("owner")).await.expect_problem(403, "forbidden");
    bob.client.patch(&member(&ann.id), role("member")).await.expect_problem(403, "forbidden");
    bob.client.delete(&member(&ann.id)).await.expect_problem(403, "forbidden");
    bob.client.patch(&member(&cy.id), role("member")).await.expect(200);
    cy.client.patch(&member(&cy.id), role("admin")).await.expect_problem(403, "forbidden");
    cy.client.delete(&member(&bob.id)).await.expect_problem(403, "forbidden");
    ann.client.patch(&member("nobody"), role("admin")).await.expect_problem(404, "not_found");
    assert_eq!(ann.client.patch(&member(&cy.id), role("king")).await.expect(422).wrong_fields(), ["/role"]);

    // The last owner stays until there is another.
    ann.client.patch(&member(&ann.id), role("member")).await.expect_problem(409, "last_owner");
    ann.client.delete(&member(&ann.id)).await.expect_problem(409, "last_owner");
    ann.client.patch(&member(&bob.id), role("owner")).await.expect(200);
    ann.client.patch(&member(&ann.id), role("member")).await.expect(200);
    ann.client.patch(&member(&cy.id), role("admin")).await.expect_problem(403, "forbidden");

    // Who is removed is a stranger from the next request on, here and in other processes.
    let other = service.beside(super::app).await;
    let cy_there = other.anonymous().with_token(cy.client.token().expect("a token"));
    cy_there.get(&format!("/workspaces/{id}")).await.expect(200);
    bob.client.delete(&member(&cy.id)).await.expect(204);
    for client in [&cy.client, &cy_there] {
        client.get(&format!("/workspaces/{id}")).await.expect_problem(404, "not_found");
        client.get(&format!("/workspaces/{id}/projects")).await.expect_problem(404, "not_found");
    }
    bob.client.delete(&member(&cy.id)).await.expect_problem(404, "not_found");
    ann.client.delete(&member(&ann.id)).await.expect(204);
    assert_eq!(people(&bob.client, &id).await, named(&[("bob", "owner")]));
}

/// Promise: R-27
async fn of_two_last_owners_who_leave_at_once_one_stays(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob) = (person(&service, "ann").await, person(&service, "bob").await);
    for round in 0..6 {
        let id = make_workspace(&ann.client, "Acme").await;
        put(&service, &id, &bob.id, MemberRole::Owner).await;
        let path = |who: &str| format!("/workspaces/{id}/members/{who}");
        let (own, others) = match round % 3 {
            0 => ([path(&ann.id), path(&bob.id)], false),
            // Each removes the other.
            1 => ([path(&bob.id), path(&ann.id)], true),
            _ => ([path(&ann.id), path(&bob.id)], false),
        };
        let answers = if round % 3 == 2 {
            let role = || json!({ "role": "member" });
            join_all([ann.client.patch(&own[0], role()), bob.client.patch(&own[1], role())].map(Box::pin)).await
        } else {
            join_all([ann.client.delete(&own[0]), bob.client.delete(&own[1])].map(Box::pin)).await
        };
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        // Whoever was removed by the other has nothing here any more.
        let refusal = if others { 404 } else { 409 };
        assert!(statuses[0] < 300 && statuses[1] == refusal, "round {round}: {statuses:?}");
        let owners = service
            .db()
            .count::<app_kernel::feature::workspaces::Member>("[workspace_id] = ? AND [role] = 'owner'", [&id]);
        assert_eq!(owners.await.expect("a count"), 1);
    }
}

/// Promise: R-27
async fn an_owner_who_was_deactivated_is_not_the_one_who_stays(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob) = (person(&service, "ann").await, person(&service, "bob").await);
    let id = make_workspace(&ann.client, "Acme").await;
    put(&service, &id, &bob.id, MemberRole::Owner).await;
    let set_active = async |is_active: bool| {
        let mut user = service.db().get::<User>(&bob.id).await.expect("a read").expect("a user");
        user.is_active = is_active;
        service.db().save(user).await.expect("saved");
    };
    let member = |who: &str| format!("/workspaces/{id}/members/{who}");
    let role = |role: &str| json!({ "role": role });
    set_active(false).await;
    ann.client.delete(&member(&ann.id)).await.expect_problem(409, "last_owner");
    ann.client.patch(&member(&ann.id), role("admin")).await.expect_problem(409, "last_owner");
    let leave = json!({ "password": PASSWORD });
    let leave = serde_json::to_vec(&leave).expect("JSON");
    let delete = axum::http::Method::DELETE;
    ann.client.send(delete, "/auth/me", Some("application/json"), leave).await.expect_problem(409, "last_owner");
    // The one who is there may do anything with the one who is not.
    ann.client.patch(&member(&bob.id), role("admin")).await.expect(200);
    ann.client.patch(&member(&bob.id), role("owner")).await.expect(200);
    set_active(true).await;
    ann.client.delete(&member(&ann.id)).await.expect(204);
}
