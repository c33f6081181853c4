//! A workspace with everybody around it, made anew whenever a request has changed something. Put into the tables as it is, because signing
//! ten people up for each of a hundred requests would take minutes.

use std::time::Duration;

use app_kernel::base::id::new_id;
use app_kernel::base::secret::{Secret, token_hash};
use app_kernel::feature::api_keys::create_api_key;
use app_kernel::feature::auth::{Role, Session, User};
use app_kernel::feature::webhooks::{DeliveryState, WebhookDelivery};
use app_kernel::feature::workspaces::{Invite, Member, MemberRole, Workspace};
use app_kernel::prelude::*;
use app_kernel::testing::service::PASSWORD;
use app_kernel::testing::{Client, TestService};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::PROVIDER;
use crate::auth::{our_header, signed};
use crate::support::people::user;
use crate::workspaces::project;

/// What is there before a request.
pub(super) struct Stage {
    /// In the order of `WHO`.
    pub(super) callers: Vec<Client>,
    workspace: String,
    project: String,
    /// A job for the owner, which is not due.
    job: String,
    invite: String,
    token: String,
    /// A key of the workspace.
    key: String,
    /// A key of the owner's own.
    own_key: String,
    /// A webhook of the workspace, and something that it has missed.
    webhook: String,
    delivery: String,
    /// A session of the owner's, on another device.
    session: String,
    /// Somebody in the workspace with whom something can be done.
    target: String,
    target_address: String,
    /// Unlike any other stage's.
    n: usize,
}

/// The people of a stage; each owns a workspace of their own.
const PEOPLE: [&str; 7] = ["owner", "admin", "member", "stranger", "removed", "target", "administrator"];

impl Stage {
    /// Everything once more, with other ids. Everybody's password is [`PASSWORD`], whose hash is handed in.
    pub(super) async fn set(service: &TestService, password_hash: &Secret, n: usize) -> Self {
        let (db, now) = (service.db(), service.now());
        let users = PEOPLE.map(|name| User {
            name: Some(name.to_owned()),
            password_hash: Some(password_hash.clone()),
            role: if name == "administrator" { Role::Admin } else { Role::User },
            ..user(&address(name, n))
        });
        let mut users = db.save_many(users).await.expect("users");
        let ids: Vec<String> = users.iter().map(|user| user.id.clone()).collect();
        let [owner, admin, member, stranger, removed, target, administrator] =
            <[String; 7]>::try_from(ids).expect("seven");
        let of = |name: &str, user_id: &str, is_personal| Workspace {
            name: name.to_owned(),
            is_personal,
            created_by_user_id: user_id.to_owned(),
            requires_second_factor: false,
        };
        let personal = users.iter().map(|user| of("Personal", &user.id, true));
        let all = personal.chain([of("Acme", &owner, false), of("Other", &stranger, false)]);
        let workspaces = db.save_many(all.collect::<Vec<_>>()).await.expect("workspaces");
        let (workspace, other) = (workspaces[PEOPLE.len()].id.clone(), workspaces[PEOPLE.len() + 1].id.clone());
        for (user, workspace) in users.iter_mut().zip(&workspaces) {
            user.personal_workspace_id = Some(workspace.id.clone());
        }
        let in_own = users.iter().zip(&workspaces).map(|(user, own)| place(&own.id, &user.id, MemberRole::Owner));
        let in_shared = [
            place(&workspace, &owner, MemberRole::Owner),
            place(&workspace, &admin, MemberRole::Admin),
            place(&workspace, &member, MemberRole::Member),
            place(&workspace, &target, MemberRole::Member),
            place(&other, &stranger, MemberRole::Owner),
        ];
        db.save_many(in_own.chain(in_shared).collect::<Vec<_>>()).await.expect("members");
        let place = db.save(place(&workspace, &removed, MemberRole::Admin)).await.expect("a member");
        db.delete::<Member>(&place.id).await.expect("removed");
        db.save_many(users).await.expect("users");

        let sessions =
            [&owner, &admin, &member, &stranger, &removed, &administrator, &owner].map(|user_id| session(user_id, now));
        let sessions = db.save_many(sessions).await.expect("sessions");
        let token = app_kernel::base::secret::random_token();
        let invite = Invite {
            workspace_id: workspace.clone(),
            email: address("invited", n),
            email_key: address("invited", n),
            role: MemberRole::Member,
            token_hash: Secret::new(token_hash(&token)),
            invited_by_user_id: owner.clone(),
            expires_at: now + SignedDuration::from_hours(1),
        };
        let invite = db.save(invite).await.expect("an invitation").id;
        let project = db.in_workspace(&workspace).save(project("gear")).await.expect("a project").id;
        let jobs = service.kernel().jobs().expect("jobs");
        let later = Duration::from_secs(3600);
        let job = jobs.enqueue("nap", json!({})).user(&owner).delay(later).await.expect("a job").job_id;
        set_flag(service.kernel(), "beta").enabled(true).await.expect("a flag");
        let own_key = create_api_key(&db, &owner).await.expect("a key").info.id;
        let foreign = create_api_key(&db, &stranger).workspace(&other).scopes(["*"]).await.expect("a key");
        let without = create_api_key(&db, &owner).workspace(&workspace).await.expect("a key");
        let all = create_api_key(&db, &owner).workspace(&workspace).scopes(["*"]).await.expect("a key");
        let webhook = create_webhook(&db, &workspace, HOOK).await.expect("a webhook").info.id;
        let missed = WebhookDelivery {
            webhook_id: webhook.clone(),
            event_id: "an event".to_owned(),
            event: "thing.happened".to_owned(),
            state: DeliveryState::Failed,
            attempts: 10,
            failures: 10,
            next_attempt_at: None,
            last_status: Some(500),
            last_outcome: None,
        };
        let delivery = db.save(missed).await.expect("a delivery").id;

        let anonymous = service.anonymous();
        let with = |token: &str| anonymous.clone().with_token(token);
        let people = sessions.iter().take(6).map(|session| with(&access_token(session, now, 3600)));
        let callers = people
            .chain([anonymous.clone(), with(&access_token(&sessions[6], now, 0))])
            .chain([&foreign.key, &without.key, &all.key].map(|key| with(key)))
            .collect();
        let (session, key, target_address) = (sessions[6].id.clone(), all.id.clone(), address("target", n));
        Stage {
            callers,
            workspace,
            project,
            job,
            invite,
            token,
            key,
            own_key,
            webhook,
            delivery,
            session,
            target,
            target_address,
            n,
        }
    }

    /// The route with its parameters filled in; its workspace is named by the query where the path names none.
    pub(super) fn path(&self, template: &str) -> String {
        let names_workspace = template.contains("/workspaces") || template.contains("{workspace_id}");
        let id = match template {
            "/projects/{id}" => &self.project,
            "/auth/sessions/{id}" => &self.session,
            _ if template.starts_with("/jobs/") => &self.job,
            _ => &self.workspace,
        };
        let filled = template
            .replace("{id}", id)
            .replace("{workspace_id}", &self.workspace)
            .replace("{user_id}", &self.target)
            .replace("{invite_id}", &self.invite)
            .replace("{webhook_id}", &self.webhook)
            .replace("{delivery_id}", &self.delivery)
            .replace("{token}", &self.token)
            .replace("{provider}", PROVIDER)
            .replace("{name}", "beta")
            .replace("{key}", "beta")
            .replace("{key_id}", if names_workspace { &self.key } else { &self.own_key });
        match template {
            "/healthz" | "/readyz" | "/metrics" => filled,
            // Those of a service's administrators know no workspace, or many.
            "/jobs" | "/audit" | "/usage" | "/flags" | "/flags/{name}" => format!("/api/v1{filled}"),
            _ if names_workspace => format!("/api/v1{filled}"),
            _ => format!("/api/v1{filled}?workspace_id={}", self.workspace),
        }
    }

    /// What an honest client would send there; `cell` makes it unlike any other request's.
    pub(super) fn body(&self, method: &str, template: &str, cell: usize) -> Value {
        let no_token = app_kernel::base::secret::random_token();
        match (method, template) {
            ("post", "/auth/register") => json!({ "email": format!("new-{cell}@example.com"), "password": PASSWORD }),
            ("post", "/auth/login") => json!({ "email": self.target_address, "password": PASSWORD }),
            ("post", "/auth/login/second-factor") => json!({ "challenge": no_token, "code": "123456" }),
            ("post", "/auth/refresh") => json!({ "refresh_token": no_token }),
            ("post", "/auth/change-password") => {
                json!({ "current_password": PASSWORD, "new_password": "another good password" })
            }
            ("post", "/auth/oauth/exchange") => json!({ "code": no_token }),
            ("post", "/auth/verify-email") => json!({ "token": no_token }),
            ("post", "/auth/password-reset") => json!({ "token": no_token, "new_password": "another good password" }),
            ("post", "/auth/password-reset/request") => json!({ "email": format!("nobody-{cell}@example.com") }),
            ("delete", "/auth/me") | ("post", "/auth/second-factor" | "/auth/oauth/link") => {
                json!({ "password": PASSWORD })
            }
            ("delete", "/auth/second-factor") => json!({ "password": PASSWORD, "code": "123456" }),
            ("post", "/auth/second-factor/confirm") => json!({ "code": "123456" }),
            ("patch", "/workspaces/{id}/members/{user_id}") => json!({ "role": "admin" }),
            ("post", "/workspaces/{id}/invite") => json!({ "email": format!("other-{}@example.com", self.n) }),
            ("put" | "patch", "/flags/{name}") => json!({ "enabled": true }),
            ("post", "/ofrep/v1/evaluate/flags" | "/ofrep/v1/evaluate/flags/{key}") => json!({ "context": {} }),
            ("post", path) if path.ends_with("/rotate") => json!({}),
            ("post", path) if path.ends_with("/recover") => json!({ "since": "2020-01-01T00:00:00Z" }),
            ("post" | "patch", path) if path.ends_with("/webhooks") || path.ends_with("/{webhook_id}") => {
                json!({ "url": HOOK })
            }
            _ => json!({ "name": "Another" }),
        }
    }

    /// What nobody may read who is refused.
    pub(super) fn secrets(&self) -> [&str; 8] {
        let Stage { project, job, invite, token, key, own_key, webhook, delivery, .. } = self;
        [project, job, invite, token, key, own_key, webhook, delivery]
    }
}

/// Where nobody is (RFC 2606).
const HOOK: &str = "https://receiver.invalid/hook";

fn address(name: &str, n: usize) -> String {
    format!("{name}-{n}@example.com")
}

fn place(workspace_id: &str, user_id: &str, role: MemberRole) -> Member {
    Member { workspace_id: workspace_id.to_owned(), user_id: user_id.to_owned(), role }
}

fn session(user_id: &str, now: Timestamp) -> Session {
    Session {
        user_id: user_id.to_owned(),
        epoch: 0,
        refresh_hash: Secret::new(token_hash(&new_id())),
        previous_hash: None,
        rotated_at: None,
        expires_at: now + SignedDuration::from_hours(24),
        revoked_at: None,
        user_agent: None,
        address: None,
        last_used_at: now,
        second_factor_at: None,
    }
}

/// An access token as the service signs them, good for so many seconds.
fn access_token(session: &Saved<Session>, now: Timestamp, secs: i64) -> String {
    let now = now.as_second();
    let claims = json!({
        "sub": session.user_id, "sid": session.id, "jti": new_id(), "iat": now - 60, "exp": now + secs, "type": "access"
    });
    signed(&our_header(), &claims)
}
