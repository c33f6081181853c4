//! People of a test's service.

use app_kernel::feature::auth::{Role, User};
use app_kernel::testing::{Client, TestService};

/// Somebody whose role is admin from the first request on.
pub(crate) async fn admin(service: &TestService) -> Client {
    let root = service.sign_up("root").await;
    let found = service.db().find::<User>("[email_key] = ?", ["root@example.com"]).first().await;
    let mut user = found.expect("an answer").expect("a user");
    user.role = Role::Admin;
    service.db().save(user).await.expect("saved");
    root
}
