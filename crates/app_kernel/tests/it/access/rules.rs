//! What each route answers to everybody who may ask: one line for each, by feature.

/// Who asks, in the order of the columns.
pub(super) const WHO: [&str; 11] = [
    "owner",
    "admin",
    "member",
    "stranger",
    "removed member",
    "administrator",
    "anonymous",
    "expired token",
    "key of another workspace",
    "key without scope",
    "key with all scopes",
];

/// The statuses that a route answers with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// To whoever asks: it looks at no proof, or at one in the body.
    Anybody(u16),
    /// To people who are signed in, wherever they belong to. A key is none of them.
    People(u16),
    /// To the owner, whose thing it is. To other people it is not there.
    Mine(u16),
    /// To administrators of the service.
    Admins(u16),
    /// To the owner, whose thing it is, and to administrators of the service.
    MineAndAdmins(u16),
    /// To the owner, the admin and the member of the workspace. To other people it is not there.
    Members([u16; 3]),
    /// The same; then to the workspace's key without a scope and to the one with all.
    WithKeys([u16; 3], u16, u16),
    /// To each of [`WHO`].
    Exactly([u16; 11]),
}

impl Rule {
    /// One status for each of [`WHO`].
    pub(super) fn expected(self) -> [u16; 11] {
        match self {
            Rule::Anybody(status) => [status; 11],
            Rule::People(ok) => [ok, ok, ok, ok, ok, ok, 401, 401, 403, 403, 403],
            Rule::Mine(ok) => [ok, 404, 404, 404, 404, 404, 401, 401, 403, 403, 403],
            Rule::Admins(ok) => [403, 403, 403, 403, 403, ok, 401, 401, 403, 403, 403],
            Rule::MineAndAdmins(ok) => [ok, 404, 404, 404, 404, ok, 401, 401, 403, 403, 403],
            Rule::Members([owner, admin, member]) => [owner, admin, member, 404, 404, 404, 401, 401, 403, 403, 403],
            Rule::WithKeys([owner, admin, member], without, all) => {
                [owner, admin, member, 404, 404, 404, 401, 401, 404, without, all]
            }
            Rule::Exactly(statuses) => statuses,
        }
    }
}

use Rule::{Admins, Anybody, Exactly, Members, Mine, MineAndAdmins, People, WithKeys};

/// Every route. `stage.rs` says what is sent.
pub(super) const RULES: &[(&str, &str, Rule)] = &[
    ("get", "/healthz", Anybody(200)),
    ("get", "/readyz", Anybody(200)),
    ("get", "/metrics", Anybody(200)),
    // Auth. What proves something by a token in its body gets a wrong one here.
    ("post", "/auth/register", Anybody(201)),
    ("post", "/auth/login", Anybody(200)),
    ("post", "/auth/refresh", Anybody(401)),
    ("post", "/auth/logout", People(204)),
    ("get", "/auth/me", People(200)),
    // The owner would leave a workspace behind that others share.
    ("delete", "/auth/me", Exactly([409, 204, 204, 204, 204, 204, 401, 401, 403, 403, 403])),
    ("post", "/auth/change-password", People(204)),
    ("get", "/auth/sessions", People(200)),
    ("delete", "/auth/sessions", People(204)),
    ("delete", "/auth/sessions/{id}", Mine(204)),
    ("post", "/auth/verify-email/request", People(202)),
    ("post", "/auth/verify-email", Anybody(400)),
    ("post", "/auth/password-reset/request", Anybody(202)),
    ("post", "/auth/password-reset", Anybody(400)),
    ("post", "/auth/login/second-factor", Anybody(401)),
    ("post", "/auth/second-factor", People(201)),
    ("get", "/auth/second-factor", People(200)),
    // Nobody here has one, or has begun to.
    ("delete", "/auth/second-factor", People(400)),
    ("post", "/auth/second-factor/confirm", People(409)),
    // Sign-in elsewhere. It begins for anybody; what comes back without having begun ends there, and nobody here has linked anything.
    ("get", "/auth/oauth/{provider}", Anybody(302)),
    ("delete", "/auth/oauth/{provider}", People(404)),
    ("get", "/auth/oauth/{provider}/callback", Anybody(400)),
    ("post", "/auth/oauth/exchange", Anybody(400)),
    ("post", "/auth/oauth/link", People(201)),
    ("get", "/auth/oauth/accounts", People(200)),
    // Jobs, the audit and what was used.
    ("get", "/jobs", Admins(200)),
    ("get", "/jobs/{id}", MineAndAdmins(200)),
    ("delete", "/jobs/{id}", Admins(204)),
    ("post", "/jobs/{id}/cancel", Admins(200)),
    // It has neither failed nor been cancelled.
    ("post", "/jobs/{id}/retry", Admins(409)),
    ("get", "/audit", Admins(200)),
    ("get", "/usage", Admins(200)),
    // Feature flags. What they say is for everybody who is signed in, and for keys with the scope.
    ("get", "/flags", Admins(200)),
    ("get", "/flags/{name}", Admins(200)),
    ("put", "/flags/{name}", Admins(200)),
    ("patch", "/flags/{name}", Admins(200)),
    ("delete", "/flags/{name}", Admins(204)),
    ("get", "/my-flags", Members([200, 200, 200])),
    ("post", "/ofrep/v1/evaluate/flags", WithKeys([200, 200, 200], 403, 200)),
    ("post", "/ofrep/v1/evaluate/flags/{key}", WithKeys([200, 200, 200], 403, 200)),
    // Workspaces.
    ("get", "/workspaces", People(200)),
    ("post", "/workspaces", People(201)),
    ("get", "/workspaces/{id}", Members([200, 200, 200])),
    ("patch", "/workspaces/{id}", Members([200, 200, 403])),
    ("delete", "/workspaces/{id}", Members([204, 403, 403])),
    ("get", "/workspaces/{id}/members", Members([200, 200, 200])),
    ("patch", "/workspaces/{id}/members/{user_id}", Members([200, 200, 403])),
    ("delete", "/workspaces/{id}/members/{user_id}", Members([204, 204, 403])),
    ("post", "/workspaces/{id}/invite", Members([201, 201, 403])),
    ("get", "/workspaces/{id}/invites", Members([200, 200, 403])),
    ("delete", "/workspaces/{id}/invites/{invite_id}", Members([204, 204, 403])),
    // The invitation is somebody else's.
    ("post", "/workspaces/join/{token}", People(404)),
    // API keys. No key makes, sees or ends one.
    ("get", "/api-keys", People(200)),
    ("post", "/api-keys", People(201)),
    ("get", "/api-keys/{key_id}", Mine(200)),
    ("delete", "/api-keys/{key_id}", Mine(204)),
    ("post", "/api-keys/{key_id}/rotate", Mine(201)),
    ("get", "/workspaces/{id}/api-keys", Members([200, 200, 403])),
    ("post", "/workspaces/{id}/api-keys", Members([201, 201, 403])),
    ("get", "/workspaces/{id}/api-keys/{key_id}", Members([200, 200, 403])),
    ("delete", "/workspaces/{id}/api-keys/{key_id}", Members([204, 204, 403])),
    ("post", "/workspaces/{id}/api-keys/{key_id}/rotate", Members([201, 201, 403])),
    // Webhooks.
    ("get", "/workspaces/{id}/webhooks", Members([200, 200, 403])),
    ("post", "/workspaces/{id}/webhooks", Members([201, 201, 403])),
    ("get", "/workspaces/{id}/webhooks/{webhook_id}", Members([200, 200, 403])),
    ("patch", "/workspaces/{id}/webhooks/{webhook_id}", Members([200, 200, 403])),
    ("delete", "/workspaces/{id}/webhooks/{webhook_id}", Members([204, 204, 403])),
    ("post", "/workspaces/{id}/webhooks/{webhook_id}/rotate", Members([200, 200, 403])),
    ("post", "/workspaces/{id}/webhooks/{webhook_id}/test", Members([201, 201, 403])),
    ("post", "/workspaces/{id}/webhooks/{webhook_id}/recover", Members([200, 200, 403])),
    ("get", "/workspaces/{id}/webhooks/{webhook_id}/deliveries", Members([200, 200, 403])),
    ("get", "/workspaces/{id}/webhooks/{webhook_id}/deliveries/{delivery_id}", Members([200, 200, 403])),
    ("post", "/workspaces/{id}/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver", Members([200, 200, 403])),
    // The app's own, in the workspace that `?workspace_id=` or the path names: `WorkspaceMember` and its kin, `CurrentUser`, `AdminUser`.
    ("get", "/projects", Members([200, 200, 200])),
    ("post", "/projects", Members([201, 201, 201])),
    ("delete", "/projects", Members([200, 200, 403])),
    ("get", "/projects/{id}", Members([200, 200, 200])),
    ("get", "/workspaces/{id}/projects", Members([200, 200, 200])),
    ("get", "/boards/{workspace_id}", Members([200, 200, 200])),
    ("get", "/owners-only", Members([200, 403, 403])),
    ("get", "/where-am-i", Members([200, 200, 200])),
    ("get", "/maybe", Exactly([200, 200, 200, 404, 404, 404, 200, 401, 403, 403, 403])),
    ("get", "/any", Admins(200)),
    // `Auth`, `RequireScope`, and a door that a service must not have: a key makes no keys there, either.
    ("get", "/who", WithKeys([200, 200, 200], 200, 200)),
    ("get", "/workspaces/{id}/who", WithKeys([200, 200, 200], 200, 200)),
    ("get", "/deployments", WithKeys([200, 200, 200], 403, 200)),
    ("post", "/deployments", WithKeys([201, 201, 201], 403, 201)),
    ("post", "/breed", WithKeys([201, 201, 201], 403, 403)),
];
