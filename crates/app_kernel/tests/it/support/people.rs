//! People of a test's service.

use app_kernel::feature::auth::{Role, User};
use app_kernel::testing::{Client, TestService};

/// Somebody for the table, who has only an address.
pub(crate) fn user(address: &str) -> User {
    User {
        email: address.to_owned(),
        email_key: address.to_owned(),
        name: None,
        password_hash: None,
        role: Role::User,
        is_active: true,
        email_verified_at: None,
        password_changed_at: None,
        session_epoch: 0,
        personal_workspace_id: None,
        last_sign_in_at: None,
    }
}

/// Somebody whose role is admin from the first request on.
pub(crate) async fn admin(service: &TestService) -> Client {
    let root = service.sign_up("root").await;
    let found = service.db().find::<User>("[email_key] = ?", ["root@example.com"]).first().await;
    let mut user = found.expect("an answer").expect("a user");
    user.role = Role::Admin;
    service.db().save(user).await.expect("saved");
    root
}
